//! A plan file: what a seed may draw. Where it leaves no choice it is one plan.
//! Never draws two things from the same dice, so that a line changed in a plan file leaves the
//! rest of each world as it was.
//!
//! Swarm testing: each seed leaves whole classes of faults out and draws the size of everything
//! that has one, because what is always mixed hides what is rare.
//!
//! # Source
//! Groce et al., "Swarm testing", ISSTA'12; docs/plans.md.

use std::collections::BTreeMap;

use crate::classes::{CLASSES, Draw};
use crate::dice::Dice;
use crate::fault::{Fault, MARKS, Whom};
use crate::knobs::{KNOBS, Knob, Knobs};
use crate::plan::{Plan, Planned, When};
use crate::text::{Line, Malformed, Word};

/// The plan files that come with the crate.
const NAMED: &[(&str, &str)] = &[
    ("swarm", include_str!("../plans/swarm.plan")),
    ("long", include_str!("../plans/long.plan")),
    ("disks", include_str!("../plans/disks.plan")),
    ("decay", include_str!("../plans/decay.plan")),
];

/// What a plan file says.
#[derive(Clone, Debug)]
pub struct Recipe {
    seed: Option<u64>,
    shapes: Vec<Shape>,
}

/// One kind of world.
#[derive(Clone, Debug)]
struct Shape {
    weight: u64,
    /// Of each knob by its name, the words to choose from.
    knobs: BTreeMap<String, Vec<String>>,
    faults: Vec<Planned>,
    classes: BTreeMap<String, Use>,
    /// How many faults are drawn.
    counts: Vec<u64>,
    /// How long faults last at most, in hundredths of the election timeout.
    lengths: Vec<u64>,
    /// Faults that wait for a mark, of a thousand.
    at_marks: u64,
}

/// A class of faults and how much of it.
#[derive(Clone, Debug)]
struct Use {
    class: usize,
    weight: u64,
    /// Worlds that have it at all, of a thousand.
    chance: u64,
    from_ns: u64,
    to_ns: Option<u64>,
}

impl Recipe {
    /// A plan file that comes with the crate.
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = NAMED.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(text).expect("a test reads all of them"))
    }

    /// The names for [`Recipe::named`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// A line is not as docs/plans.md has it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut seed = None;
        let mut common = Shape::default();
        let mut shapes: Vec<Shape> = Vec::new();
        for mut line in Line::all(text) {
            let word = line.word("something")?;
            match word {
                "seed" => seed = Some(line.value("a number", false)?),
                "shape" => {
                    let _ = line.word("a name")?;
                    let weight = line.value("a weight", false)?;
                    shapes.push(Shape {
                        weight,
                        ..common.clone()
                    });
                }
                _ => shapes
                    .last_mut()
                    .unwrap_or(&mut common)
                    .say(word, &mut line)?,
            }
            line.end()?;
        }
        if shapes.is_empty() {
            shapes.push(common);
        }
        Ok(Self { seed, shapes })
    }

    /// The seed that the file itself names.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The one plan that the file is, if it leaves nothing to draw.
    pub(crate) fn fixed(&self) -> Result<Plan, Malformed> {
        let why = |what: &str| Malformed {
            line: 0,
            word: String::new(),
            why: format!("a plan without choices is wanted, and {what}"),
        };
        let seed = self.seed.ok_or_else(|| why("this one has no seed"))?;
        let [shape] = self.shapes.as_slice() else {
            return Err(why("this one has shapes"));
        };
        if !shape.classes.is_empty() || shape.knobs.values().any(|words| words.len() > 1) {
            return Err(why("this one leaves something to draw"));
        }
        Ok(self.draw(seed))
    }

    /// The plan that a seed draws.
    pub fn draw(&self, seed: u64) -> Plan {
        let mut dice = Dice::of(seed, "shape", &[]);
        let shape = dice.pick_weighted(&self.shapes, |shape| shape.weight);
        let knobs = shape.draw_knobs(seed);
        let mut faults = shape.faults.clone();
        faults.extend(shape.draw_faults(seed, &knobs));
        Plan {
            seed,
            knobs,
            faults,
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            weight: 1,
            knobs: BTreeMap::new(),
            faults: Vec::new(),
            classes: BTreeMap::new(),
            counts: vec![10],
            lengths: vec![500],
            at_marks: 333,
        }
    }
}

impl Shape {
    /// Takes in a line that begins with `word`.
    fn say(&mut self, word: &str, line: &mut Line<'_>) -> Result<(), Malformed> {
        match word {
            "at" => {
                let when = When::At(line.value("a time", true)?);
                let fault = Fault::read(line)?;
                self.faults.push(Planned { when, fault });
            }
            "on" => {
                let mark = line.value("a mark", false)?;
                let when = When::Mark(mark, line.value("a number", false)?);
                let fault = Fault::read(line)?;
                self.faults.push(Planned { when, fault });
            }
            "count" => self.counts = numbers(line, "")?,
            "length" => self.lengths = numbers(line, "%")?,
            "at-marks" => self.at_marks = line.value("a number", false)?,
            "class" => self.say_class(line)?,
            _ => self.say_knob(word, line)?,
        }
        Ok(())
    }

    fn say_class(&mut self, line: &mut Line<'_>) -> Result<(), Malformed> {
        let name = line.word("a class")?;
        let class = CLASSES.iter().position(|(known, _)| *known == name);
        let class = class.ok_or_else(|| {
            let names: Vec<&str> = CLASSES.iter().map(|(name, _)| *name).collect();
            line.wrong(name, format!("a class is one of {}", names.join(", ")))
        })?;
        let from_ns = line.optional("from_ns")?.unwrap_or(0);
        let to_ns = line.optional("to_ns")?;
        if to_ns.is_some_and(|to| to <= from_ns) {
            return Err(line.wrong(name, "the window ends before it begins"));
        }
        let used = Use {
            class,
            weight: line.optional("weight")?.unwrap_or(1),
            chance: line.optional("chance")?.unwrap_or(1000),
            from_ns,
            to_ns,
        };
        self.classes.insert(name.into(), used);
        Ok(())
    }

    fn say_knob(&mut self, name: &str, line: &mut Line<'_>) -> Result<(), Malformed> {
        let knob = Knob::named(name);
        let knob = knob.ok_or_else(|| line.wrong(name, "nothing of this name can be set"))?;
        let words = line.rest();
        if words.is_empty() {
            return Err(line.wrong(name, "a value is missing"));
        }
        for word in &words {
            set(knob, &mut Knobs::default(), word).map_err(|why| line.wrong(word, why))?;
        }
        let words = words.into_iter().map(String::from).collect();
        self.knobs.insert(name.into(), words);
        Ok(())
    }

    fn draw_knobs(&self, seed: u64) -> Knobs {
        let mut knobs = Knobs::default();
        for knob in KNOBS {
            let name = knob.name();
            if let Some(words) = self.knobs.get(&name) {
                let at = Dice::of(seed, &name, &[]).below(words.len() as u64);
                let turned = set(knob, &mut knobs, &words[at as usize]);
                turned.expect("it was tried when it was read");
            }
        }
        knobs
    }

    fn draw_faults(&self, seed: u64, knobs: &Knobs) -> Vec<Planned> {
        let classes = self.classes.iter().filter(|(name, used)| {
            used.weight > 0 && Dice::of(seed, name, &[]).chance(used.chance, 1000)
        });
        let classes: Vec<&Use> = classes.map(|(_, used)| used).collect();
        if classes.is_empty() {
            return Vec::new();
        }
        let count = Dice::of(seed, "count", &[]).pick(&self.counts);
        let drawn = (0..count).map(|nth| {
            let mut dice = Dice::of(seed, "fault", &[nth]);
            let used = *dice.pick_weighted(&classes, |used| used.weight);
            self.draw_fault(dice, knobs, used)
        });
        drawn.collect()
    }

    fn draw_fault(&self, mut dice: Dice, knobs: &Knobs, used: &Use) -> Planned {
        let has_window = used.from_ns > 0 || used.to_ns.is_some();
        let at_mark = !has_window && dice.chance(self.at_marks, 1000);
        let when = if at_mark {
            When::Mark(dice.pick(MARKS), dice.between(1, 6))
        } else {
            let end = used.to_ns.unwrap_or(knobs.faults_ns).max(used.from_ns + 1);
            When::At(dice.between(used.from_ns, end - 1))
        };
        let whom = match dice.below(4) {
            0 => Whom::Leader,
            1 | 2 if at_mark => Whom::Marked,
            _ => Whom::Node(dice.below(knobs.nodes) as usize),
        };
        let length_max = knobs.election_ns / 100 * dice.pick(&self.lengths);
        let for_ns = dice.between(1, length_max.max(1));
        let (_, draw) = CLASSES[used.class];
        let fault = draw(&mut Draw {
            dice,
            knobs,
            whom,
            for_ns,
        });
        Planned { when, fault }
    }
}

/// Turns a knob to a word, which may be a percentage of another knob.
fn set(knob: &Knob, knobs: &mut Knobs, word: &str) -> Result<(), String> {
    let Some(percent) = word.strip_suffix('%') else {
        return (knob.turn)(knobs, word);
    };
    let other = KNOBS
        .iter()
        .find(|other| Some(other.ident) == knob.relative_to);
    let other = other.ok_or("this cannot be a percentage")?;
    let whole = u64::read(&(other.word)(knobs), true)?;
    let part = whole / 100 * u64::read(percent, false)?;
    (knob.turn)(knobs, &part.spell(true))
}

fn numbers(line: &mut Line<'_>, unit: &str) -> Result<Vec<u64>, Malformed> {
    let words = line.rest();
    if words.is_empty() {
        return Err(line.wrong("", "a number is missing"));
    }
    let numbers = words.into_iter().map(|word| {
        let digits = word.strip_suffix(unit).ok_or(format!("{unit} is missing"));
        let number = digits.and_then(|digits| u64::read(digits, false));
        number.map_err(|why| line.wrong(word, why))
    });
    numbers.collect()
}
