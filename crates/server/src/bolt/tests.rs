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
    for at in (0..whole.len()).step_by(61) {
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

/// Puts a number into a file.
fn patch(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_value_that_looks_like_a_database_is_only_a_value() {
    // Where another size of pages would have the second meta page, with a later transaction.
    let forged = file(&[("key", vec![(b"forged".to_vec(), vec![7])])]);
    let mut meta = forged[PAGE_BYTES..2 * PAGE_BYTES].to_vec();
    patch(&mut meta, HEAD_BYTES + 48, &99_u64.to_le_bytes());
    let sum = fnv1a(&meta[HEAD_BYTES..HEAD_BYTES + META_CHECKED_BYTES]);
    let at = HEAD_BYTES + META_CHECKED_BYTES;
    patch(&mut meta, at, &sum.to_le_bytes());
    // A leaf's head and its one element come before the first key and value.
    let before = HEAD_BYTES + ELEMENT_BYTES + 1;
    let mut value = vec![0; PAGE_BYTES - before];
    value.extend(meta.repeat(60));
    let items = vec![(b"k".to_vec(), value)];
    let whole = file(&[("key", items.clone())]);
    assert!(Meta::read(&whole, 16 * PAGE_BYTES).is_some_and(|meta| meta.transaction == 99));
    assert!(content(&whole, "key").unwrap() == items);
}

#[test]
fn a_bucket_that_is_cut_short_is_told_of() {
    let mut whole = file(&[("key", items(3, &[5]))]);
    let root = whole.len() - PAGE_BYTES;
    // The only bucket's value: no page of its own, and no room for one within.
    patch(&mut whole, root + HEAD_BYTES + 12, &8_u32.to_le_bytes());
    patch(&mut whole, root + HEAD_BYTES + ELEMENT_BYTES + 3, &[0; 8]);
    let why = content(&whole, "key").unwrap_err();
    assert!(why.to_string().contains("cut short"), "{why:#}");
}

#[test]
fn items_that_lie_on_each_other_are_no_more_than_the_file() {
    let mut whole = file(&[("key", items(100, &[4]))]);
    let leaf = FIRST_PAGES as usize * PAGE_BYTES;
    for nth in 0..100 {
        let element = leaf + HEAD_BYTES + nth * ELEMENT_BYTES;
        patch(&mut whole, element + 12, &2000_u32.to_le_bytes());
    }
    let why = format!("{:#}", content(&whole, "key").unwrap_err());
    assert!(why.contains("lie on each other"), "{why}");
}
