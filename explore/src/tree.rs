//! `Debug` texts as trees: the only way to see what the core keeps to itself.
//! Never guesses: a text of another shape is an error, and so is a field that nobody asked for.
//!
//! # Source
//! `std::fmt`, the builders behind `derive(Debug)`.

/// Why a text could not be read.
pub type Misread = String;

/// A value by its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tree<'a> {
    /// A number, a name, a variant without fields.
    Word(&'a str),
    /// A struct, by name, or a variant with named fields.
    Struct(&'a str, Vec<(&'a str, Tree<'a>)>),
    /// A variant or struct with fields in order, or, without a name, a tuple.
    Tuple(&'a str, Vec<Tree<'a>>),
    /// A list, or a set.
    List(Vec<Tree<'a>>),
    /// A map.
    Map(Vec<(Tree<'a>, Tree<'a>)>),
}

impl<'a> Tree<'a> {
    /// Reads a whole text.
    ///
    /// # Errors
    /// It is not what `derive(Debug)` writes.
    pub fn read(text: &'a str) -> Result<Self, Misread> {
        let mut rest = text;
        let tree = tree(&mut rest)?;
        if rest.is_empty() {
            Ok(tree)
        } else {
            Err(format!("more behind the end: {rest}"))
        }
    }

    /// The fields of a struct of this name.
    ///
    /// # Errors
    /// It is something else.
    pub fn fields(self, name: &'static str) -> Result<Fields<'a>, Misread> {
        match self {
            Self::Struct(is, fields) if is == name => Ok(Fields { name, fields }),
            other => Err(format!("no {name}: {other:?}")),
        }
    }

    /// The items of a list, a set, a tuple, or a variant with fields in order.
    ///
    /// # Errors
    /// It is something else.
    pub fn items(self) -> Result<Vec<Tree<'a>>, Misread> {
        match self {
            Self::List(items) | Self::Tuple(_, items) => Ok(items),
            // A set without any looks like a map without any.
            Self::Map(pairs) if pairs.is_empty() => Ok(Vec::new()),
            other => Err(format!("no list: {other:?}")),
        }
    }

    /// The pairs of a map.
    ///
    /// # Errors
    /// It is something else.
    pub fn pairs(self) -> Result<Vec<(Tree<'a>, Tree<'a>)>, Misread> {
        match self {
            Self::Map(pairs) => Ok(pairs),
            other => Err(format!("no map: {other:?}")),
        }
    }

    /// What an option holds.
    ///
    /// # Errors
    /// It is something else.
    pub fn option(self) -> Result<Option<Tree<'a>>, Misread> {
        match self {
            Self::Word("None") => Ok(None),
            Self::Tuple("Some", mut items) if items.len() == 1 => Ok(items.pop()),
            other => Err(format!("no option: {other:?}")),
        }
    }

    /// A word.
    ///
    /// # Errors
    /// It is something else.
    pub fn word(self) -> Result<&'a str, Misread> {
        match self {
            Self::Word(word) => Ok(word),
            other => Err(format!("no word: {other:?}")),
        }
    }

    /// A number, whatever letter says of what.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(self) -> Result<u64, Misread> {
        let word = self.word()?;
        let digits = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.parse().map_err(|_| format!("no number: {word}"))
    }

    /// Whether it is so.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(self) -> Result<bool, Misread> {
        let word = self.word()?;
        word.parse()
            .map_err(|_| format!("neither true nor false: {word}"))
    }
}

/// The fields of a struct, each of which somebody has to ask for.
#[derive(Debug)]
pub struct Fields<'a> {
    name: &'static str,
    fields: Vec<(&'a str, Tree<'a>)>,
}

impl<'a> Fields<'a> {
    /// Takes one.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn take(&mut self, name: &str) -> Result<Tree<'a>, Misread> {
        let place = self.fields.iter().position(|(known, _)| *known == name);
        let place = place.ok_or_else(|| format!("{} has no {name}", self.name))?;
        Ok(self.fields.remove(place).1)
    }

    /// All have been taken but those in `others`.
    ///
    /// # Errors
    /// One has not, or is not there.
    pub fn end(mut self, others: &[&str]) -> Result<(), Misread> {
        for other in others {
            self.take(other)?;
        }
        match self.fields.first() {
            None => Ok(()),
            Some((field, _)) => Err(format!(
                "nobody knows what to make of {}'s {field}",
                self.name
            )),
        }
    }
}

fn tree<'a>(rest: &mut &'a str) -> Result<Tree<'a>, Misread> {
    let end = rest.find([' ', ',', ':', '(', ')', '[', ']', '{', '}']);
    let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = behind;
    if let Some(inside) = rest.strip_prefix('(') {
        *rest = inside;
        return Ok(Tree::Tuple(word, group(rest, ")", tree)?));
    }
    if word.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            *rest = inside;
            return Ok(Tree::List(group(rest, "]", tree)?));
        }
        let inside = rest.strip_prefix('{');
        *rest = inside.ok_or_else(|| format!("no value: {rest}"))?;
        let inside = group(rest, "}", |rest| {
            let key = tree(rest)?;
            match rest.strip_prefix(": ") {
                Some(behind) => {
                    *rest = behind;
                    Ok((key, Some(tree(rest)?)))
                }
                None => Ok((key, None)),
            }
        })?;
        let is_set = inside.iter().any(|(_, value)| value.is_none());
        return if is_set {
            Ok(Tree::List(inside.into_iter().map(|(key, _)| key).collect()))
        } else {
            let pairs = inside.into_iter();
            Ok(Tree::Map(
                pairs
                    .filter_map(|(key, value)| Some((key, value?)))
                    .collect(),
            ))
        };
    }
    if let Some(inside) = rest.strip_prefix(" { ") {
        *rest = inside;
        let fields = group(rest, " }", |rest| match pair(rest)? {
            (Tree::Word(name), value) => Ok((name, value)),
            (other, _) => Err(format!("no field: {other:?}")),
        })?;
        return Ok(Tree::Struct(word, fields));
    }
    Ok(Tree::Word(word))
}

fn pair<'a>(rest: &mut &'a str) -> Result<(Tree<'a>, Tree<'a>), Misread> {
    let key = tree(rest)?;
    let behind = rest.strip_prefix(": ");
    *rest = behind.ok_or_else(|| format!("nothing behind {key:?}"))?;
    Ok((key, tree(rest)?))
}

/// Items up to the end of the group.
fn group<'a, T>(
    rest: &mut &'a str,
    end: &str,
    item: impl Fn(&mut &'a str) -> Result<T, Misread>,
) -> Result<Vec<T>, Misread> {
    let mut items = Vec::new();
    loop {
        if let Some(behind) = rest.strip_prefix(end) {
            *rest = behind;
            return Ok(items);
        }
        if !items.is_empty() {
            let behind = rest.strip_prefix(", ");
            *rest = behind.ok_or_else(|| format!("no {end} here: {rest}"))?;
        }
        items.push(item(rest)?);
    }
}
