//! What is written is read again, whatever its size, and damage is told of.
use super::*;

type Content = Vec<(Vec<u8>, Vec<u8>)>;

fn file(buckets: &[(&'static str, Content)]) -> Vec<u8> {
    let items = |(name, items): &(&'static str, Content)| {
        let items: Box<dyn Items> = Box::new(items.clone());
        (*name, items)
    };
    let plan = Plan::new(buckets.iter().map(items).collect());
    let bytes = plan.bytes();
    let file: Vec<u8> = plan.into_pieces().flatten().collect();
    assert_eq!(file.len() as u64, bytes);
    file
}

fn content(file: &[u8], bucket: &str) -> Result<Content> {
    let mut found = Content::new();
    Database::open(file)?.visit(bucket, |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

/// So many items with values of these sizes in turn.
fn items(count: u32, sizes: &[usize]) -> Content {
    let item = |at: u32| {
        let size = sizes[at as usize % sizes.len()];
        (at.to_be_bytes().to_vec(), vec![at as u8; size])
    };
    (0..count).map(item).collect()
}

#[test]
fn what_is_written_is_read_again() {
    // None, one leaf, a branch, two levels of branches; items as large as a page, and much larger.
    let shapes: [(u32, &[usize]); 7] = [
        (0, &[1]),
        (1, &[0]),
        (3, &[10]),
        (1000, &[100, 0, 7]),
        (12_000, &[30]),
        (40, &[4096, 4060, 4064, 4061, 5]),
        (5, &[1 << 20, 3]),
    ];
    for (count, sizes) in shapes {
        let buckets = [
            ("z", items(2, &[5])),
            ("key", items(count, sizes)),
            ("empty", Content::new()),
        ];
        let file = file(&buckets);
        for (name, items) in &buckets {
            assert!(
                content(&file, name).unwrap() == *items,
                "{name}: {count} of {sizes:?}"
            );
        }
        assert_eq!(content(&file, "another").unwrap(), []);
    }
}

#[test]
fn damage_is_told_of_and_never_panics() {
    let whole = file(&[("key", items(300, &[40, 3000]))]);
    let expected = content(&whole, "key").unwrap();
    for at in (0..whole.len()).step_by(13) {
        let mut file = whole.clone();
        file[at] ^= 0x41;
        let found = content(&file, "key");
        // The second meta page is newer: the first may be damaged.
        if at < PAGE_BYTES {
            assert_eq!(found.unwrap(), expected, "byte {at}");
        }
    }
    for length in [0, 1, 4096, 5000, 8192, 12_300, whole.len() - 4096] {
        assert!(content(&whole[..length], "key").is_err(), "{length} bytes");
    }
    assert!(content(&vec![0x55; 40_000], "key").is_err());
}
