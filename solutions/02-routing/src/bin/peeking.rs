//! Measures what chapter 2.4 says of its test: false alarms when one peeks, how soon a bad canary is caught, and where the promise
//! ends. Prints tables; equal seeds print equal tables.
//!
//!     cargo run -p sol02-routing --bin sol02-peeking [SEED]

use fastrand::Rng;
use sol02_routing::Bet;

/// Canaries for each figure.
const RUNS: usize = 2_000;
/// Numbers of requests after which alarms are counted.
const LOOKS: [usize; 8] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];
/// The part of requests that fail.
const FAILING: f64 = 0.05;
/// The probability of a false alarm that was promised.
const ALPHA: f64 = 0.05;
/// A normal variable is larger with probability [`ALPHA`].
const Z: f64 = 1.645;

fn main() -> Result<(), std::num::ParseIntError> {
    let seed = std::env::args().nth(1).map_or(Ok(7), |text| text.parse())?;
    let mut rng = Rng::with_seed(seed);
    alarms(&mut rng);
    caught(&mut rng);
    sessions(&mut rng);
    delays(&mut rng);
    Ok(())
}

/// One request: whether it is the canary's, and whether it fails.
fn request(share: f64, stable: f64, canary: f64, rng: &mut Rng) -> (bool, bool) {
    let is_canary = rng.f64() < share;
    (is_canary, rng.f64() < if is_canary { canary } else { stable })
}

/// The test of every textbook: two proportions, one look.
#[derive(Default)]
struct ZTest {
    requests: [f64; 2],
    failed: [f64; 2],
}

impl ZTest {
    fn observe(&mut self, is_canary: bool, failed: bool) {
        self.requests[usize::from(is_canary)] += 1.0;
        self.failed[usize::from(is_canary)] += f64::from(u8::from(failed));
    }

    fn rejects(&self) -> bool {
        let [stable, canary] = self.requests;
        let pooled = (self.failed[0] + self.failed[1]) / (stable + canary);
        let error = (pooled * (1.0 - pooled) * (1.0 / stable + 1.0 / canary)).sqrt();
        self.failed[1] / canary - self.failed[0] / stable > Z * error
    }
}

/// False alarms by the time of the look.
fn alarms(rng: &mut Rng) {
    let (mut once, mut peeking, mut betting) = ([0; 8], [0; 8], [0; 8]);
    for _ in 0..RUNS {
        let (mut test, mut bet) = (ZTest::default(), Bet::default());
        let (mut peeked, mut won) = (false, false);
        let mut done = 0;
        for (look, upto) in LOOKS.into_iter().enumerate() {
            for _ in done..upto {
                let (is_canary, failed) = request(0.5, FAILING, FAILING, rng);
                test.observe(is_canary, failed);
                peeked |= test.rejects();
                if failed {
                    bet.observe(is_canary, 0.5);
                    won |= bet.rejects(ALPHA);
                }
            }
            done = upto;
            once[look] += usize::from(test.rejects());
            peeking[look] += usize::from(peeked);
            betting[look] += usize::from(won);
        }
    }
    println!(
        "False alarms in percent: {RUNS} canaries at 50 % like the stable version, 5 % of requests fail.\n"
    );
    println!("{:<34}{}", "requests", LOOKS.map(|look| format!("{look:>8}")).concat());
    for (name, counts) in [
        ("z-test, one look", once),
        ("z-test, after every request", peeking),
        ("bet, after every request", betting),
    ] {
        let percent = counts.map(|count| format!("{:>8.1}", 100.0 * count as f64 / RUNS as f64));
        println!("{name:<34}{}", percent.concat());
    }
}

/// How soon canaries that fail more often are caught.
fn caught(rng: &mut Rng) {
    println!(
        "\nRequests until 50 % and 95 % of {} canaries are caught; 1 % of the stable version's fail.\n",
        RUNS / 10
    );
    println!(
        "{:<34}{:>18}{:>18}{:>18}",
        "the canary fails, times as often", "at 1 %", "at 5 %", "at 50 %"
    );
    for ratio in [3.0, 10.0, 50.0] {
        let cells = [0.01, 0.05, 0.5].map(|share| {
            let mut needed: Vec<usize> = (0..RUNS / 10)
                .map(|_| {
                    let mut bet = Bet::default();
                    let caught = (1..2_000_000).find(|_| {
                        let (is_canary, failed) = request(share, 0.01, 0.01 * ratio, rng);
                        if failed {
                            bet.observe(is_canary, share);
                        }
                        failed && bet.rejects(ALPHA)
                    });
                    caught.unwrap_or(usize::MAX)
                })
                .collect();
            needed.sort_unstable();
            format!("{:>9}{:>9}", needed[needed.len() / 2], needed[needed.len() * 95 / 100])
        });
        println!("{ratio:<34}{}", cells.concat());
    }
}

/// Where sessions stay with a version and fail as a whole, coins are not independent.
fn sessions(rng: &mut Rng) {
    println!(
        "\nFalse alarms in percent by requests in a session, where one session in 20 fails and the others do not; 5,000 requests.\n"
    );
    let cells = [1, 2, 5, 20].map(|size| {
        let mut alarm = || {
            let (mut each, mut first) = (Bet::default(), Bet::default());
            let (mut alarms, mut alarms_of_first) = (false, false);
            for _ in 0..5_000 / size {
                let (is_canary, failed) = request(0.5, FAILING, FAILING, rng);
                if !failed {
                    continue;
                }
                first.observe(is_canary, 0.5);
                alarms_of_first |= first.rejects(ALPHA);
                for _ in 0..size {
                    each.observe(is_canary, 0.5);
                    alarms |= each.rejects(ALPHA);
                }
            }
            (alarms, alarms_of_first)
        };
        let seen: Vec<(bool, bool)> = (0..RUNS).map(|_| alarm()).collect();
        let percent = |count: usize| 100.0 * count as f64 / RUNS as f64;
        let each = percent(seen.iter().filter(|seen| seen.0).count());
        let first = percent(seen.iter().filter(|seen| seen.1).count());
        (size, each, first)
    });
    println!(
        "{:<34}{}",
        "requests in a session",
        cells.map(|cell| format!("{:>8}", cell.0)).concat()
    );
    println!(
        "{:<34}{}",
        "each request is a coin",
        cells.map(|cell| format!("{:>8.1}", cell.1)).concat()
    );
    println!(
        "{:<34}{}",
        "each session is a coin",
        cells.map(|cell| format!("{:>8.1}", cell.2)).concat()
    );
}

/// Where the canary's failures are seen at once and the stable version's only when they time out, early coins are all heads.
fn delays(rng: &mut Rng) {
    println!(
        "\nFalse alarms in percent where the canary fails at once, and the stable version so many requests later; 5,000 requests.\n"
    );
    let delays = [0, 50, 200, 1_000];
    let cells = delays.map(|delay| {
        let alarms = (0..RUNS).filter(|_| {
            let mut bet = Bet::default();
            let mut later = std::collections::VecDeque::new();
            (0..5_000).any(|now| {
                while later.front().is_some_and(|due| *due <= now) {
                    later.pop_front();
                    bet.observe(false, 0.5);
                }
                let (is_canary, failed) = request(0.5, FAILING, FAILING, rng);
                if failed && is_canary {
                    bet.observe(true, 0.5);
                } else if failed {
                    later.push_back(now + delay);
                }
                bet.rejects(ALPHA)
            })
        });
        format!("{:>8.1}", 100.0 * alarms.count() as f64 / RUNS as f64)
    });
    println!("{:<34}{}", "later by", delays.map(|delay| format!("{delay:>8}")).concat());
    println!("{:<34}{}", "", cells.concat());
}
