//! What Linux tells of one process, or of one thread.

use std::fs;

/// What `/proc/ID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// `R` runs or wants to, `S` sleeps, `D` waits for the disk, `T` is stopped, `Z` is dead.
    pub state: char,
    /// Its parent's id.
    pub parent: u32,
    /// Its process group's.
    pub group: i32,
    /// Its session's.
    pub session: i32,
    /// Clock ticks that its threads have computed, ended ones too, in user and kernel mode.
    pub ticks: u64,
    /// The same of the children that it has waited for.
    pub ticks_of_children: u64,
    /// Resident pages.
    pub pages: u64,
}

impl Process {
    /// One of this machine's processes. A dead one is there until its parent has waited for it.
    #[must_use]
    pub fn of(id: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{id}/stat")).ok()?)
    }

    /// A thread of one. Where it lies says whose it is: its parent is its process's.
    #[must_use]
    pub fn of_thread(process: u32, thread: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{process}/task/{thread}/stat")).ok()?)
    }

    /// Reads `id (name) state parent group session ...`, where the name may hold anything (proc(5)).
    #[must_use]
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let name = stat.iter().position(|byte| *byte == b'(')?;
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let id = std::str::from_utf8(&stat[..name]).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // User time is field 14, system time 15, those of children 16 and 17, resident pages 24. Whoever is to be killed has to
        // be found, so none of these hides a process.
        let mut number = |skipped| -> u64 {
            let field = fields.nth(skipped);
            field.and_then(|field| field.parse().ok()).unwrap_or_default()
        };
        let ticks = number(7).saturating_add(number(0));
        let ticks_of_children = number(0).saturating_add(number(0));
        let pages = number(6);
        Some(Self { id, state, parent, group, session, ticks, ticks_of_children, pages })
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Whether a signal stopped it, and none has let it go on.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let mut stat = b"7 (a) R (b)) S 3 5 9 0 -1 4194304 1 2 3 4 50 60 6 7".to_vec();
        stat.extend(b" 20 0 1 0 12345 1000000 77 999");
        let expected = Process {
            id: 7,
            state: 'S',
            parent: 3,
            group: 5,
            session: 9,
            ticks: 110,
            ticks_of_children: 13,
            pages: 77,
        };
        assert_eq!(Process::parse(&stat), Some(expected));
    }

    #[test]
    fn a_process_whose_times_cannot_be_read_is_there_all_the_same() {
        let seen = Process::parse(b"7 (a) Z 3 5 9 0 -1 0 0 0 0 0 -1 x").unwrap();
        assert_eq!((seen.id, seen.ticks, seen.pages), (7, 0, 0));
        assert!(!seen.is_alive() && !seen.is_stopped());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_says_who_it_is() {
        let own = Process::of(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(own.is_alive() && !own.is_stopped() && own.pages > 0);
        assert_eq!(Process::of_thread(own.id, own.id).map(|main| main.id), Some(own.id));
        assert_eq!(Process::of(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(stat in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any_answer = Process::parse(&stat);
        }

        #[test]
        fn no_field_makes_the_parser_panic(fields in "[0-9]{1,3} \\(\\PC{0,9}\\) [A-Z]( -?[0-9]{1,25}){0,30}") {
            let _any_answer = Process::parse(fields.as_bytes());
        }
    }
}
