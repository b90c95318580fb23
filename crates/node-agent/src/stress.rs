//! Processes that use up CPU or memory inside a pod: what StressChaos asks for.

use std::time::{Duration, Instant};

use apimachinery::Key;
use process_tree::this_program;

use crate::agent::NodeAgent;
use crate::error::AgentError;
use crate::supervisor::BURNER;
use crate::supervisor::order::{Ending, Spec};

/// Time after which a burner rests, if it does not burn all the time.
const SLICE: Duration = Duration::from_millis(100);
/// Most burners of one request.
const MOST_WORKERS: u32 = 64;

/// What to use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stress {
    /// CPU.
    Cpu {
        /// Processes.
        workers: u32,
        /// Percent of a CPU that each uses.
        load: u32,
    },
    /// Memory.
    Memory {
        /// Processes.
        workers: u32,
        /// Bytes that each holds.
        bytes: u64,
    },
}

impl NodeAgent {
    /// Uses up CPU or memory inside a pod until the future that is returned is dropped; it is done when the burners end, as
    /// with the pod.
    ///
    /// # Errors
    /// [`AgentError::NoPod`], [`AgentError::NotRunning`], [`AgentError::Invalid`].
    pub async fn stress(
        &self,
        pod: &Key,
        stress: Stress,
    ) -> Result<impl Future<Output = ()> + Send + use<>, AgentError> {
        let (_, _, view) = self.shared.find(pod)?;
        let sandbox = view.borrow().sandbox.clone();
        let sandbox = sandbox.ok_or_else(|| AgentError::NotRunning {
            pod: pod.name.clone(),
            container: String::new(),
            state: "it has no processes".to_owned(),
        })?;
        let (workers, what, amount) = match stress {
            Stress::Cpu { workers, load } => (workers, "cpu", u64::from(load.clamp(1, 100))),
            Stress::Memory { workers, bytes } => (workers, "memory", bytes),
        };
        if workers == 0 || workers > MOST_WORKERS {
            return Err(AgentError::Invalid(format!(
                "workers: from 1 to {MOST_WORKERS}, not {workers}"
            )));
        }
        let program = this_program().map_err(AgentError::io("this program"))?;
        let mut burners = Vec::new();
        for _ in 0..workers {
            let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
            let files = (|| Ok([null()?.into(), null()?.into(), null()?.into()]))();
            let files = files.map_err(AgentError::io("/dev/null"))?;
            let argv = vec![
                program.display().to_string(),
                BURNER.to_owned(),
                what.to_owned(),
                amount.to_string(),
            ];
            let spec = Spec { argv, dir: "/".into(), ..Spec::default() };
            burners.push(sandbox.run(spec, files).await);
        }
        Ok(async move {
            for mut burner in burners {
                let _how: Result<Ending, String> = burner.ended().await;
            }
        })
    }
}

/// A burner: `cpu PERCENT` or `memory BYTES`. Ends only when it is killed, or with a mistake in its arguments.
pub(crate) fn burn(arguments: &[String]) -> i32 {
    let [what, amount] = arguments else { return 2 };
    let Ok(amount) = amount.parse::<u64>() else { return 2 };
    match what.as_str() {
        "cpu" => burn_cpu(amount.min(100)),
        "memory" => hold_memory(amount),
        _ => 2,
    }
}

fn burn_cpu(percent: u64) -> i32 {
    let busy = SLICE.mul_f64(percent as f64 / 100.0);
    loop {
        let start = Instant::now();
        let mut x = 1_u64;
        while start.elapsed() < busy {
            for _ in 0..10_000 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        if let Some(rest) = SLICE.checked_sub(start.elapsed()) {
            std::thread::sleep(rest);
        }
    }
}

fn hold_memory(bytes: u64) -> i32 {
    let Ok(length) = usize::try_from(bytes) else { return 2 };
    let mut held: Vec<u8> = Vec::new();
    if held.try_reserve_exact(length).is_err() {
        return 1;
    }
    // Written, or the kernel would give nothing.
    held.resize(length, 1);
    loop {
        std::hint::black_box(&mut held);
        std::thread::sleep(Duration::from_secs(1));
    }
}
