//! What a behaviour is: a sentence, and the code that finds out whether it holds.

use std::pin::Pin;

use crate::place::Place;
use crate::unmet::Met;

/// The running of a behaviour.
pub type Run<'a> = Pin<Box<dyn Future<Output = Met> + Send + 'a>>;

/// One behaviour of a cluster.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// What holds, as a sentence: `a stale replace is refused with 409`.
    pub sentence: &'static str,
    /// Finds out, in a namespace of its own.
    pub run: fn(&Place) -> Run<'_>,
}

/// Behaviours of one subject.
#[derive(Clone, Copy)]
pub struct Group {
    /// One word: `versions`.
    pub name: &'static str,
    /// What the group is about, for `--list`.
    pub about: &'static str,
    /// Its behaviours, in the order of a report.
    pub behaviours: &'static [Behaviour],
}

/// Declares a group: its name, what it is about, and for each sentence the function that finds out.
macro_rules! group {
    ($name:literal, $about:literal, { $($sentence:literal => $run:ident,)* }) => {
        pub(crate) const GROUP: $crate::behaviour::Group = $crate::behaviour::Group {
            name: $name,
            about: $about,
            behaviours: &[$($crate::behaviour::Behaviour {
                sentence: $sentence,
                run: |place| Box::pin($run(place)),
            },)*],
        };
    };
}
pub(crate) use group;
