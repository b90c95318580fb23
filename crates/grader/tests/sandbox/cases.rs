//! Each case runs one act in the sandbox, then looks for processes that it left.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grader::sandbox::{Contained, Ending, Limits, Program};
use grader::{GradeError, Stop, sandbox};

/// How long leftovers of a killed grader may take to go.
const SOON: Duration = Duration::from_secs(10);

type Case = (&'static str, fn(&str));

const CASES: &[Case] = &[
    ("a_well_behaved_program_is_heard", heard),
    ("a_sleeper_is_ended_at_its_time_limit", |mark| waits("sleep", mark)),
    ("a_deadlock_is_ended_at_its_time_limit", |mark| waits("deadlock", mark)),
    ("a_busy_loop_is_ended_at_its_time_limit", |mark| computes("busy", mark)),
    ("a_childs_loop_counts_as_its_parents", |mark| computes("parent-of-busy", mark)),
    ("children_too_short_to_be_seen_count", |mark| _ = timed_out("breeder", mark)),
    ("a_program_deaf_to_signals_is_ended", |mark| waits("deaf", mark)),
    ("busy_neighbours_do_not_use_up_its_time", starved),
    ("a_loop_among_busy_neighbours_is_not_waited_for_for_ever", starved_loop),
    ("a_sleeper_among_busy_neighbours_still_uses_its_time", starved_sleeper),
    ("a_panic_is_its_status", |mark| ends("panic", mark, &Ending::Exited(101))),
    ("an_exit_is_its_status", |mark| ends("exit", mark, &Ending::Exited(0))),
    ("an_abort_is_its_signal", |mark| ends("abort", mark, &signal("SIGABRT"))),
    ("a_stack_overflow_is_told", overflow),
    ("memory_has_a_limit", memory),
    ("a_flood_is_cut_and_counted", flood),
    ("a_fork_bomb_is_cut_at_the_limit", bomb),
    ("a_fork_bomb_that_outlives_its_check_is_ended", shell_bomb),
    ("a_daemon_is_found_and_ended", daemon),
    ("killing_its_own_group_costs_that_check_alone", |mark| {
        ends("kill-group", mark, &signal("SIGKILL"))
    }),
    ("killing_its_supervisor_leaves_no_daemon", |mark| {
        ends("kill-supervisor", mark, &Ending::SupervisorKilled)
    }),
    ("a_killed_grader_leaves_no_process", killed_grader),
    ("a_stop_ends_what_runs", stopped),
    ("a_program_that_does_not_exist_is_told", missing),
];

/// Runs the cases that the command line asks for; ends this process.
pub(crate) fn run_all() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let mut failed = 0;
    for (name, case) in CASES {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let mark = format!("{}-{name}", std::process::id());
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(|| {
            case(&mark);
            let left = marked(&mark);
            assert!(left.is_empty(), "left behind: {left:?}");
        });
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("case {name} ... {word} ({:.1} s)", started.elapsed().as_secs_f64());
        failed += usize::from(outcome.is_err());
    }
    assert!(failed == 0, "{failed} cases failed");
}

/// Runs an act in the sandbox.
pub(crate) fn run(act: &str, own: Duration, mark: &str) -> Contained {
    contained(act, &Limits::pure(own), mark, &Stop::new()).expect("the sandbox works")
}

fn contained(act: &str, limits: &Limits, mark: &str, stop: &Stop) -> Result<Contained, GradeError> {
    let here = tempfile::tempdir().expect("a folder");
    let path = std::env::current_exe().expect("a path");
    let mut env = BTreeMap::from([("ACT", act), ("MARK", mark)]);
    let search = std::env::var("PATH").unwrap_or_default();
    env.insert("PATH", &search);
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let program = Program { path, args: Vec::new(), env, dir: here.path().into() };
    sandbox::run(&program, limits, stop)
}

/// Living processes with a mark in their environment.
fn marked(mark: &str) -> Vec<u32> {
    let needle = format!("MARK={mark}\0").into_bytes();
    let ids = fs::read_dir("/proc").expect("proc").flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |id: &u32| {
        // A zombie's environment is empty.
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.windows(needle.len()).any(|window| window == needle)
    };
    ids.filter(has_mark).collect()
}

fn signal(name: &str) -> Ending {
    Ending::Signal(name.to_owned())
}

fn ends(act: &str, mark: &str, ending: &Ending) {
    assert_eq!(run(act, OWN, mark).ending, *ending);
}

fn heard(mark: &str) {
    let contained = run("well-behaved", OWN, mark);
    assert_eq!(contained.ending, Ending::Exited(0));
    assert_eq!(contained.stdout.head, "to standard output\n");
    assert_eq!(contained.stderr.head, "to standard error\n");
    assert_eq!(contained.strays, 0);
}

/// Its own time in these cases.
const OWN: Duration = Duration::from_secs(1);

fn timed_out(act: &str, mark: &str) -> Contained {
    let contained = run(act, OWN, mark);
    assert_eq!(contained.ending, Ending::TimeLimit);
    assert!(contained.own > OWN, "{contained:?}");
    contained
}

fn waits(act: &str, mark: &str) {
    let ran = timed_out(act, mark).ran;
    assert!(ran < OWN / 4, "it ran for {ran:?}");
}

fn computes(act: &str, mark: &str) {
    let ran = timed_out(act, mark).ran;
    assert!(ran > OWN * 3 / 4, "it ran for {ran:?}");
}

/// Processes that leave little of each processor to others.
struct Neighbours(Vec<Child>);

/// How many, for each processor.
const CROWD: usize = 6;

impl Neighbours {
    fn start() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let start = |_| {
            let mut neighbour = Command::new("/proc/self/exe");
            neighbour.env("ACT", "neighbour").stdin(Stdio::null()).spawn().expect("a neighbour")
        };
        Self((0..CROWD * processors).map(start).collect())
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for neighbour in &mut self.0 {
            let _ended_by_itself = neighbour.kill();
            let _gone = neighbour.wait();
        }
    }
}

fn starved(mark: &str) {
    let _neighbours = Neighbours::start();
    // It needs 0.6 s of a processor.
    let contained = run("work", OWN, mark);
    println!(
        "  {:?} of its own in {:?}, ran {:?}",
        contained.own, contained.duration, contained.ran
    );
    assert_eq!(contained.ending, Ending::Exited(0));
    if contained.duration < OWN {
        println!("  skipped: this machine left it more than half a processor");
    }
}

fn starved_loop(mark: &str) {
    let _neighbours = Neighbours::start();
    let limits = Limits { wall: OWN * 2, ..Limits::pure(OWN) };
    let contained = contained("busy", &limits, mark, &Stop::new()).expect("the sandbox works");
    println!(
        "  {:?} of its own in {:?}, ran {:?}",
        contained.own, contained.duration, contained.ran
    );
    if contained.ending == Ending::TimeLimit {
        println!("  skipped: this machine left it more than half a processor");
        return;
    }
    assert_eq!(contained.ending, Ending::WallLimit);
    assert!(contained.own < OWN, "{contained:?}");
}

fn starved_sleeper(mark: &str) {
    let _neighbours = Neighbours::start();
    waits("sleep", mark);
}

fn overflow(mark: &str) {
    let contained = run("overflow", SOON, mark);
    assert_eq!(contained.ending, signal("SIGABRT"));
    assert!(contained.stderr.head.contains("has overflowed its stack"), "{contained:?}");
}

fn memory(mark: &str) {
    let contained = run("memory", SOON, mark);
    assert_eq!(contained.ending, signal("SIGABRT"));
    assert!(contained.stderr.head.contains("memory allocation of"), "{contained:?}");
}

fn flood(mark: &str) {
    let contained = run("flood", SOON, mark);
    assert!(
        matches!(contained.ending, Ending::Flood(bytes) if bytes > 32 << 20),
        "{:?}",
        contained.ending
    );
    let kept = contained.stdout.head.len() + contained.stdout.tail.len();
    assert_eq!(kept, 256 << 10);
    assert!(contained.stdout.omitted_bytes > 31 << 20);
}

fn bomb(mark: &str) {
    let contained = run("bomb", SOON, mark);
    assert!(
        matches!(contained.ending, Ending::TooManyProcesses(count) if count > 64),
        "{contained:?}"
    );
    assert!(contained.strays > 64);
}

fn shell_bomb(mark: &str) {
    let contained = run("shell-bomb", SOON, mark);
    // At the kernel's limit the shells may end by themselves before anybody sweeps.
    let refused = contained.stderr.lines().any(|line| line.contains("fork"));
    assert!(contained.strays > 0 || refused, "nothing was started, nothing refused");
    println!("  {} processes swept", contained.strays);
}

fn daemon(mark: &str) {
    let contained = run("daemonise", SOON, mark);
    assert_eq!(contained.ending, Ending::Exited(0));
    assert_eq!(contained.strays, 1);
    assert!(contained.duration < SOON);
}

fn killed_grader(mark: &str) {
    let mut grader = Command::new("/proc/self/exe");
    grader.env("ACT", "grader").env("MARK", mark).stdin(Stdio::null());
    let mut grader = grader.spawn().expect("a grader");
    wait_until(|| marked(mark).len() >= 4, "grader, supervisor, check and daemon run");
    grader.kill().expect("alive");
    grader.wait().expect("ours");
    wait_until(|| marked(mark).is_empty(), "nothing is left of a killed grader");
}

fn stopped(mark: &str) {
    let stop = Stop::new();
    let setter = stop.clone();
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        setter.set();
    });
    let outcome =
        contained("daemonise-and-hang", &Limits::pure(Duration::from_secs(60)), mark, &stop);
    thread.join().expect("it only sleeps");
    assert!(matches!(outcome, Err(GradeError::Interrupted)), "{outcome:?}");
    assert!(started.elapsed() < SOON);
}

fn missing(mark: &str) {
    let program = Program {
        path: "/there/is/none".into(),
        args: Vec::new(),
        env: BTreeMap::from([("MARK".to_owned(), mark.to_owned())]),
        dir: std::env::temp_dir(),
    };
    let contained = sandbox::run(&program, &Limits::pure(OWN), &Stop::new()).expect("a report");
    let Ending::NotStarted(reason) = contained.ending else { panic!("{contained:?}") };
    assert!(reason.contains("No such file"), "{reason}");
}

fn wait_until(mut is_so: impl FnMut() -> bool, what: &str) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
