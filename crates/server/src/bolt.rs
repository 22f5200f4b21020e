//! A bbolt database as a file, which is what etcd's snapshots are: written from front to back, and read.
//! Never changes a file: a database is planned whole, and then each page is made once.
//!
//! Pages have a fixed size; one that holds a large item goes on over the next ones. A bucket is a tree
//! of pages: leaves hold items in the order of their keys, branches the first key of each page below.
//! The first two pages say where the tree of all buckets begins; that there are two of them, for
//! writers that must survive a crash, is of no use here.
//!
//! # Source
//! go.etcd.io/bbolt: its pages, version 2.

use std::cell::Cell;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// The size of a page, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// The size of a page's head, and of what stands in it for one item or child.
const HEAD_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;
/// The pages before the first tree: two that say where everything is, and an empty list of free ones.
const FIRST_PAGES: u64 = 3;
const FREE_PAGES_AT: u64 = 2;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE_PAGES: u16 = 0x10;
/// The flag of an item that is a bucket.
const IS_BUCKET: u32 = 1;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// What of a meta page is under its checksum.
const META_CHECKED_BYTES: usize = 56;
/// No tree is so high, unless it goes in circles.
const LEVELS_MAX: u32 = 64;
/// About how many bytes are made at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What goes into a bucket: items in the order of their keys, none of them twice.
pub trait Items: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;
    /// Key and value of one of them. It is asked for more than once.
    fn item(&self, at: usize) -> (Vec<u8>, Vec<u8>);
}

impl Items for Vec<(Vec<u8>, Vec<u8>)> {
    fn len(&self) -> usize {
        self.len()
    }

    fn item(&self, at: usize) -> (Vec<u8>, Vec<u8>) {
        self[at].clone()
    }
}

/// A database, planned: which item goes onto which page.
pub struct Plan {
    /// In the order of their names.
    buckets: Vec<(&'static str, Box<dyn Items>)>,
    /// In the order of their pages, without the first ones.
    nodes: Vec<Node>,
    /// How many pages there are in all.
    pages: u64,
}

/// A node of a tree.
struct Node {
    content: Content,
    page: u64,
    /// Over how many pages it goes.
    pages: u64,
}

enum Content {
    /// Items of a bucket.
    Leaf(usize, Range<usize>),
    /// Nodes of a bucket, by their places among all nodes.
    Branch(Range<usize>),
    /// Each bucket's name, and the place of its root among all nodes.
    Buckets(Vec<usize>),
}

impl Plan {
    /// Plans a database of these buckets.
    pub fn new(mut buckets: Vec<(&'static str, Box<dyn Items>)>) -> Plan {
        buckets.sort_by_key(|(name, _)| *name);
        let mut plan = Plan {
            buckets,
            nodes: Vec::new(),
            pages: FIRST_PAGES,
        };
        let roots = (0..plan.buckets.len()).map(|bucket| plan.grow(bucket));
        let roots = roots.collect::<Vec<_>>();
        let bytes = plan.buckets.iter().map(|(name, _)| name.len() + 16);
        let bytes = bytes.map(|item| item + ELEMENT_BYTES).sum();
        plan.push(Content::Buckets(roots), bytes);
        plan
    }

    /// The size of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// The file, piece by piece.
    pub fn into_pieces(self) -> impl Iterator<Item = Vec<u8>> {
        let mut at = 0;
        let mut piece = self.first_pages();
        std::iter::from_fn(move || {
            while let Some(node) = self.nodes.get(at).filter(|_| piece.len() < PIECE_BYTES) {
                self.render(node, &mut piece);
                at += 1;
            }
            let piece = std::mem::take(&mut piece);
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Plans the tree of a bucket; the place of its root.
    fn grow(&mut self, bucket: usize) -> usize {
        let items = &self.buckets[bucket].1;
        let size = |at| {
            let (key, value) = items.item(at);
            key.len() + value.len()
        };
        let leaves = pack((0..items.len()).map(size));
        let mut below = self.nodes.len();
        for (range, bytes) in leaves {
            self.push(Content::Leaf(bucket, range), bytes);
        }
        while self.nodes.len() - below > 1 {
            let children = below..self.nodes.len();
            let branches = pack(children.map(|child| self.first_key(child).len()));
            let next = self.nodes.len();
            for (range, bytes) in branches {
                self.push(
                    Content::Branch(below + range.start..below + range.end),
                    bytes,
                );
            }
            below = next;
        }
        below
    }

    fn push(&mut self, content: Content, bytes: usize) {
        let pages = (HEAD_BYTES + bytes).div_ceil(PAGE_BYTES) as u64;
        let page = self.pages;
        self.pages += pages;
        self.nodes.push(Node {
            content,
            page,
            pages,
        });
    }

    /// The first key below a node that is not the root.
    fn first_key(&self, node: usize) -> Vec<u8> {
        match &self.nodes[node].content {
            Content::Leaf(bucket, items) => self.buckets[*bucket].1.item(items.start).0,
            Content::Branch(children) => self.first_key(children.start),
            Content::Buckets(_) => unreachable!("there is nothing above it"),
        }
    }

    fn first_pages(&self) -> Vec<u8> {
        let root = self.nodes.last().expect("it was pushed last").page;
        let mut out = Vec::new();
        for id in 0..2_u64 {
            put_head(&mut out, id, META, 0, 1);
            let from = out.len();
            out.extend_from_slice(&MAGIC.to_le_bytes());
            out.extend_from_slice(&VERSION.to_le_bytes());
            out.extend_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
            out.extend_from_slice(&0_u32.to_le_bytes());
            // The tree of buckets and its sequence, the free pages, the pages, the transaction.
            for number in [root, 0, FREE_PAGES_AT, self.pages, id] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            let sum = fnv1a(&out[from..]);
            out.extend_from_slice(&sum.to_le_bytes());
            out.resize((id as usize + 1) * PAGE_BYTES, 0);
        }
        put_head(&mut out, FREE_PAGES_AT, FREE_PAGES, 0, 1);
        out.resize(FIRST_PAGES as usize * PAGE_BYTES, 0);
        out
    }

    fn render(&self, node: &Node, out: &mut Vec<u8>) {
        let end = out.len() + node.pages as usize * PAGE_BYTES;
        match &node.content {
            Content::Leaf(bucket, range) => {
                let items = range.clone().map(|at| self.buckets[*bucket].1.item(at));
                put_leaf(out, node, 0, &items.collect::<Vec<_>>());
            }
            Content::Buckets(roots) => {
                let bucket = |(at, root): (usize, &usize)| {
                    let mut value = self.nodes[*root].page.to_le_bytes().to_vec();
                    value.extend_from_slice(&[0; 8]);
                    (self.buckets[at].0.as_bytes().to_vec(), value)
                };
                let items = roots.iter().enumerate().map(bucket);
                put_leaf(out, node, IS_BUCKET, &items.collect::<Vec<_>>());
            }
            Content::Branch(children) => {
                put_head(out, node.page, BRANCH, children.len(), node.pages);
                let mut data = Vec::new();
                for (nth, child) in children.clone().enumerate() {
                    let key = self.first_key(child);
                    let position = (children.len() - nth) * ELEMENT_BYTES + data.len();
                    out.extend_from_slice(&(position as u32).to_le_bytes());
                    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
                    out.extend_from_slice(&self.nodes[child].page.to_le_bytes());
                    data.extend_from_slice(&key);
                }
                out.extend_from_slice(&data);
            }
        }
        debug_assert!(out.len() <= end, "a node fits into its pages");
        out.resize(end, 0);
    }
}

/// Which things of these sizes go onto one page each: their places, and what they take there. At least
/// one page.
fn pack(sizes: impl Iterator<Item = usize>) -> Vec<(Range<usize>, usize)> {
    let mut packed = Vec::new();
    let (mut range, mut bytes) = (0..0, 0);
    for size in sizes.map(|size| size + ELEMENT_BYTES) {
        if !range.is_empty() && HEAD_BYTES + bytes + size > PAGE_BYTES {
            packed.push((range.clone(), bytes));
            (range, bytes) = (range.end..range.end, 0);
        }
        range.end += 1;
        bytes += size;
    }
    packed.push((range, bytes));
    packed
}

fn put_head(out: &mut Vec<u8>, page: u64, flags: u16, count: usize, pages: u64) {
    out.extend_from_slice(&page.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    let count = u16::try_from(count).expect("a page has no room for so many");
    out.extend_from_slice(&count.to_le_bytes());
    let beyond = u32::try_from(pages - 1).expect("an item is far smaller");
    out.extend_from_slice(&beyond.to_le_bytes());
}

fn put_leaf(out: &mut Vec<u8>, node: &Node, flags: u32, items: &[(Vec<u8>, Vec<u8>)]) {
    put_head(out, node.page, LEAF, items.len(), node.pages);
    let mut data_bytes = 0;
    for (nth, (key, value)) in items.iter().enumerate() {
        let position = (items.len() - nth) * ELEMENT_BYTES + data_bytes;
        let numbers = [flags, position as u32, key.len() as u32, value.len() as u32];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        data_bytes += key.len() + value.len();
    }
    for (key, value) in items {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
}

/// The checksum of a meta page.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A database that is there.
pub struct Database<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    root: u64,
    /// How many pages may still be looked at: a tree that goes in circles has more than the file.
    looks_left: Cell<usize>,
    /// How many bytes of items may still be shown: items that lie on each other have more than the file.
    bytes_left: Cell<usize>,
}

impl<'a> Database<'a> {
    /// Finds the newest state of the database in a file.
    ///
    /// # Errors
    /// It is no such database.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        // Where the second one is depends on the size of a page, which the first one says, if it is
        // whole. If not, the nearest that fits is it: those further on may be somebody's data.
        let first = Meta::read(bytes, 0);
        let second = match &first {
            Some(first) => Meta::read(bytes, first.page_bytes),
            None => (0..8)
                .map(|power| 1024_usize << power)
                .find_map(|at| Meta::read(bytes, at).filter(|meta| meta.page_bytes == at)),
        };
        let meta = first.into_iter().chain(second);
        let meta = meta.max_by_key(|meta| meta.transaction);
        let meta =
            meta.context("it is no database of etcd's (bbolt), or its first pages are damaged")?;
        Ok(Self {
            bytes,
            page_bytes: meta.page_bytes,
            root: meta.root,
            looks_left: Cell::new(0),
            bytes_left: Cell::new(0),
        })
    }

    /// Shows all items of a bucket, in order. Whether there is such a bucket.
    ///
    /// # Errors
    /// The file is damaged, or what `visit` says.
    pub fn visit(
        &self,
        bucket: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<bool> {
        let pages = self.bytes.len() / self.page_bytes.max(1);
        self.looks_left.set(pages.saturating_mul(2));
        self.bytes_left.set(self.bytes.len().saturating_mul(2));
        let mut found = None;
        self.walk(self.root, LEVELS_MAX, &mut |flags, key, value| {
            if flags & IS_BUCKET != 0 && key == bucket.as_bytes() {
                found = Some(value);
            }
            Ok(())
        })?;
        let Some(value) = found else {
            return Ok(false);
        };
        let mut visit = |_, key: &[u8], value: &[u8]| visit(key, value);
        match u64_at(value, 0)? {
            // A small bucket has its only page here.
            0 => match value.get(16..) {
                Some(page) => self.walk_page(page, LEVELS_MAX, &mut visit),
                None => bail!("bucket {bucket} is cut short"),
            },
            root => self.walk(root, LEVELS_MAX, &mut visit),
        }
        .map(|()| true)
        .with_context(|| format!("bucket {bucket}"))
    }

    /// The names of the buckets, in order.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn buckets(&self) -> Result<Vec<String>> {
        self.looks_left
            .set(self.bytes.len() / self.page_bytes.max(1));
        self.bytes_left.set(self.bytes.len());
        let mut names = Vec::new();
        self.walk(self.root, LEVELS_MAX, &mut |flags, key, _| {
            if flags & IS_BUCKET != 0 {
                names.push(String::from_utf8_lossy(key).into_owned());
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn walk(&self, page: u64, levels: u32, visit: &mut Visit<'_, 'a>) -> Result<()> {
        let at = usize::try_from(page)?.checked_mul(self.page_bytes);
        let bytes = at.and_then(|at| self.bytes.get(at..));
        let bytes = bytes.with_context(|| format!("page {page} is beyond the file's end"))?;
        ensure!(
            u64_at(bytes, 0)? == page,
            "page {page} bears another number"
        );
        self.walk_page(bytes, levels, visit)
            .with_context(|| format!("page {page}"))
    }

    fn walk_page(&self, bytes: &'a [u8], levels: u32, visit: &mut Visit<'_, 'a>) -> Result<()> {
        let looks_left = self.looks_left.get().checked_sub(1);
        let looks_left = looks_left.filter(|_| levels > 0);
        self.looks_left
            .set(looks_left.context("the tree goes in circles")?);
        let head = u32_at(bytes, 8)?;
        let (flags, count) = (head as u16, (head >> 16) as usize);
        ensure!(
            [BRANCH, LEAF].contains(&flags),
            "it is neither branch nor leaf"
        );
        for at in (0..count).map(|nth| HEAD_BYTES + nth * ELEMENT_BYTES) {
            if flags == BRANCH {
                self.walk(u64_at(bytes, at + 8)?, levels - 1, visit)?;
                continue;
            }
            let number = |offset| u32_at(bytes, at + offset).map(|number| number as usize);
            let (key, value) = (number(8)?, number(12)?);
            let begin = at + number(4)?;
            let item = bytes.get(begin..begin + key + value);
            let (key, value) = item
                .context("an item is beyond the file's end")?
                .split_at(key);
            let bytes_left = self.bytes_left.get().checked_sub(key.len() + value.len());
            self.bytes_left
                .set(bytes_left.context("items lie on each other")?);
            visit(u32_at(bytes, at)?, key, value)?;
        }
        Ok(())
    }
}

/// Flags, key and value of an item.
type Visit<'v, 'a> = dyn FnMut(u32, &'a [u8], &'a [u8]) -> Result<()> + 'v;

struct Meta {
    page_bytes: usize,
    root: u64,
    transaction: u64,
}

impl Meta {
    /// The meta page at this place, if it is whole.
    fn read(bytes: &[u8], at: usize) -> Option<Meta> {
        let meta = bytes.get(at.checked_add(HEAD_BYTES)?..)?;
        let number = |at| u64_at(meta, at).ok();
        let is_whole = u32_at(meta, 0).ok()? == MAGIC
            && u32_at(meta, 4).ok()? == VERSION
            && fnv1a(meta.get(..META_CHECKED_BYTES)?) == number(META_CHECKED_BYTES)?;
        is_whole.then_some(Meta {
            page_bytes: u32_at(meta, 8).ok()? as usize,
            root: number(16)?,
            transaction: number(48)?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    Ok(u32::from_le_bytes(
        *bytes.context("the file ends too early")?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    Ok(u64::from_le_bytes(
        *bytes.context("the file ends too early")?,
    ))
}

#[cfg(test)]
mod tests;
