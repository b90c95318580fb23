//! Load generators: how each is told to do the same work, and how to see that it did.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::command;
use crate::run::Finished;
use crate::{BenchError, Installed, Task, write};

/// How long one run of a generator may take.
const LIMIT: Duration = Duration::from_secs(180);
/// A prompt that every generator sends where it is free to choose.
const PROMPT: &str = "w1 w2 w3 w4 w5 w6 w7 w8";
/// Prompts in a file, for generators that draw them.
const PROMPTS: usize = 20_000;
/// Tokens that are asked for.
pub(super) const TOKENS: usize = 16;

/// Where each writes what it saw.
const REPORTS: [&str; 4] = [OURS, AIPERF, GUIDELLM, VLLM];
pub(super) const OURS: &str = "report.json";
const AIPERF: &str = "profile_export_aiperf.json";
pub(super) const GUIDELLM: &str = "out.json";
pub(super) const VLLM: &str = "vllm.json";

/// What a generator is asked to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// Answers without streaming, so many at once, until there were so many.
    Unary {
        /// In flight.
        concurrency: usize,
        /// In all.
        requests: usize,
    },
    /// The same with streaming.
    Streams {
        /// In flight.
        concurrency: usize,
        /// In all.
        requests: usize,
    },
    /// Streams that begin as a Poisson process, whatever happens to earlier ones.
    Arrivals {
        /// A second.
        rate: f64,
        /// In all.
        requests: usize,
    },
}

impl Work {
    pub(crate) fn requests(self) -> usize {
        match self {
            Self::Unary { requests, .. }
            | Self::Streams { requests, .. }
            | Self::Arrivals { requests, .. } => requests,
        }
    }

    /// Requests that are under way at a time, where their number is kept.
    fn in_flight(self) -> usize {
        match self {
            Self::Unary { concurrency, .. } | Self::Streams { concurrency, .. } => concurrency,
            Self::Arrivals { .. } => 0,
        }
    }
}

/// A kind of load generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Wrk,
    Oha,
    Aiperf,
    Guidellm,
    VllmBench,
}

/// A load generator that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    pub(crate) kind: Kind,
    pub(crate) title: String,
    program: PathBuf,
    /// A folder of its own, for what it reads and writes.
    dir: PathBuf,
}

impl Generator {
    /// Ours, built.
    pub(crate) fn ours(program: PathBuf, dir: &Path) -> Self {
        Self { kind: Kind::Ours, title: "ours".to_owned(), program, dir: dir.join("ours") }
    }

    /// A peer, by the name that it has on the command line.
    pub(crate) fn peer(name: &str, installed: &Installed, dir: &Path) -> Option<Self> {
        let (kind, program) = match name {
            "wrk" => (Kind::Wrk, "wrk"),
            "oha" => (Kind::Oha, "oha"),
            "aiperf" => (Kind::Aiperf, "aiperf"),
            "guidellm" => (Kind::Guidellm, "guidellm"),
            "vllm-bench" => (Kind::VllmBench, "vllm"),
            _ => return None,
        };
        let (program, dir) = (installed.program(program), dir.join(name));
        Some(Self { kind, title: installed.title.clone(), program, dir })
    }

    /// Writes the files that it reads. Returns a program that has to run once before, if there is one.
    pub(crate) fn set_up(&self, peers: &Path) -> Result<Option<Task>, BenchError> {
        std::fs::create_dir_all(&self.dir).map_err(BenchError::io(&self.dir))?;
        match self.kind {
            Kind::Ours | Kind::Aiperf | Kind::VllmBench => {}
            Kind::Oha => write(&self.file("body.json"), &body())?,
            Kind::Wrk => {
                let script = format!(
                    "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n\
                     wrk.body = '{}'\n",
                    body()
                );
                write(&self.file("post.lua"), &script)?;
            }
            Kind::Guidellm => {
                let line = serde_json::json!({ "prompt": PROMPT, "output_tokens_count": TOKENS });
                write(&self.file("prompts.jsonl"), &format!("{line}\n").repeat(PROMPTS))?;
            }
        }
        let wants_tokenizer = matches!(self.kind, Kind::Aiperf | Kind::Guidellm | Kind::VllmBench);
        Ok(wants_tokenizer.then(|| {
            let python = self.program.with_file_name("python");
            Task::new(python, LIMIT).args([peers.join("tokenizer.py"), self.file("tokenizer")])
        }))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// How to have it do this work on the server at `url`; `None` where it cannot.
    pub(crate) fn task(&self, work: Work, url: &str) -> Option<Task> {
        let task = Task::new(&self.program, LIMIT).dir(&self.dir);
        let line = command::line(self.kind, work, url)?;
        let dir = self.dir.display().to_string();
        // After the split: a folder may have a blank in its name.
        Some(task.args(line.split_whitespace().map(|word| word.replace("DIR", &dir))))
    }

    /// Removes what an earlier run reported, so that nobody takes it for this one's.
    pub(crate) fn forget(&self) {
        for report in REPORTS {
            let _there_was_none = std::fs::remove_file(self.file(report));
        }
    }

    /// How many requests it sent and had answered well.
    ///
    /// # Errors
    /// [`BenchError::Output`] where it does not say, or says that some failed.
    pub(crate) fn answered(&self, work: Work, done: &Finished) -> Result<usize, BenchError> {
        let file = |name, keys: &[&str]| count_in(&self.file(name), keys);
        let answered = match self.kind {
            Kind::Ours => file(OURS, &["requests", "ok"]),
            Kind::Wrk => wrk_answered(&done.stdout),
            Kind::Oha => oha_answered(&done.stdout),
            Kind::Aiperf => file(AIPERF, &["request_count", "avg"]),
            Kind::Guidellm => {
                file(GUIDELLM, &["benchmarks", "0", "metrics", "request_totals", "successful"])
            }
            Kind::VllmBench => file(VLLM, &["completed"]),
        };
        let wanted = work.requests();
        let least = match self.kind {
            // It is told a time, not a number.
            Kind::Wrk => 1,
            // It gives up what is under way once it has begun as many as it was told.
            Kind::Guidellm => wanted.saturating_sub(work.in_flight()).max(1),
            _ => wanted,
        };
        match answered {
            Some(answered)
                if answered >= least && (answered <= wanted || self.kind == Kind::Wrk) =>
            {
                Ok(answered)
            }
            answered => Err(BenchError::Output {
                program: self.title.clone(),
                what: format!("{wanted} good answers were expected, and it reports {answered:?}"),
            }),
        }
    }
}

/// The body of a unary request.
fn body() -> String {
    format!(r#"{{"model":"m","prompt":"{PROMPT}","max_tokens":{TOKENS},"stream":false}}"#)
}

fn wrk_answered(stdout: &str) -> Option<usize> {
    let failed = ["Non-2xx", "Socket errors"].iter().any(|words| stdout.contains(words));
    let line = stdout.lines().find(|line| line.contains(" requests in ")).filter(|_| !failed)?;
    line.split_whitespace().next()?.parse().ok()
}

fn oha_answered(stdout: &str) -> Option<usize> {
    let report: Value = serde_json::from_str(stdout).ok()?;
    usize::try_from(report["statusCodeDistribution"]["200"].as_u64()?).ok()
}

/// A number in a JSON file, by keys and places.
fn count_in(path: &Path, keys: &[&str]) -> Option<usize> {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let found = keys.iter().try_fold(&report, |value, key| {
        key.parse::<usize>().ok().map_or_else(|| value.get(key), |at| value.get(at))
    })?;
    found.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0).map(|count| count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_tells_how_many_it_sent_unless_some_failed() {
        let good =
            "Running 1s test\n  2624 requests in 1.01s, 6.55MB read\nRequests/sec: 2605.77\n";
        assert_eq!(wrk_answered(good), Some(2624));
        for bad in ["Non-2xx or 3xx responses: 2", "Socket errors: connect 0, read 1"] {
            assert_eq!(wrk_answered(&format!("{good}  {bad}\n")), None);
        }
    }

    #[test]
    fn oha_tells_how_many_were_answered_well() {
        let report = r#"{"statusCodeDistribution":{"200":95,"500":5}}"#;
        assert_eq!(oha_answered(report), Some(95));
        assert_eq!(oha_answered("thread panicked"), None);
    }

    #[test]
    fn a_count_is_found_by_keys_and_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        std::fs::write(&path, r#"{"benchmarks":[{"ok":20.0,"rate":1.5}]}"#).unwrap();
        assert_eq!(count_in(&path, &["benchmarks", "0", "ok"]), Some(20));
        assert_eq!(count_in(&path, &["benchmarks", "0", "rate"]), None, "no count");
        assert_eq!(count_in(&path, &["benchmarks", "1", "ok"]), None);
    }

    #[test]
    fn only_who_gives_up_what_is_under_way_may_answer_a_few_less() {
        let dir = tempfile::tempdir().unwrap();
        let installed = Installed { title: String::new(), bin: "/bin".into() };
        let work = Work::Streams { concurrency: 4, requests: 100 };
        let finished = Finished {
            wall: Duration::ZERO,
            user: Duration::ZERO,
            system: Duration::ZERO,
            peak_rss_bytes: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        let answered = |name, report, count: usize| {
            let generator = Generator::peer(name, &installed, dir.path()).unwrap();
            let text = if name == "guidellm" {
                format!(
                    r#"{{"benchmarks":[{{"metrics":{{"request_totals":{{"successful":{count}}}}}}}]}}"#
                )
            } else {
                format!(r#"{{"completed":{count}}}"#)
            };
            write(&generator.file(report), &text).unwrap();
            generator.answered(work, &finished).ok()
        };
        for (count, told) in [(100, Some(100)), (96, Some(96)), (95, None), (101, None)] {
            assert_eq!(answered("guidellm", GUIDELLM, count), told);
        }
        assert_eq!(answered("vllm-bench", VLLM, 99), None);
    }

    #[test]
    fn a_folder_with_a_blank_stays_one_word() {
        let installed = Installed { title: "oha 1".to_owned(), bin: "/bin".into() };
        let oha = Generator::peer("oha", &installed, Path::new("/a b")).unwrap();
        let work = Work::Unary { concurrency: 2, requests: 3 };
        let task = format!("{:?}", oha.task(work, "http://127.0.0.1:1").unwrap());
        assert!(task.contains("\"/a b/oha/body.json\""), "{task}");
        assert!(oha.task(Work::Arrivals { rate: 1.0, requests: 2 }, "http://a").is_none());
    }
}
