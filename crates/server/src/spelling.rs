//! What was probably meant by a word that is not known.
//! Never acts on the guess: it is for the text of a complaint.
//!
//! # Source
//! Levenshtein's distance; Wagner and Fischer, "The String-to-String Correction Problem" (1974).

/// The word nearest to `word`, if it is near: a letter in three wrong at most.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.len() / 3).max(1);
    let by_distance = known
        .into_iter()
        .map(|known| (distance(word, known), known));
    let (distance, nearest) = by_distance.min_by_key(|&(distance, _)| distance)?;
    (distance <= allowed).then_some(nearest)
}

/// How many letters must be put in, taken out or replaced to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["serve", "dev", "version"];
        assert_eq!(nearest("server", known), Some("serve"));
        assert_eq!(nearest("sevre", known), None);
        assert_eq!(nearest("verison", known), Some("version"));
        assert_eq!(nearest("dve", known), None);
        assert_eq!(nearest("bogus", known), None);
        assert_eq!(nearest("DATADIR", ["DATA_DIR", "NAME"]), Some("DATA_DIR"));
    }

    #[test]
    fn the_distance_counts_letters() {
        for (a, b, d) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "axc", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
