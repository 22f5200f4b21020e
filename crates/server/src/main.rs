//! The one binary: `headwater`.

fn main() {}
