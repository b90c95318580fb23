//! This machine as a device: from step times that were recorded, through the file, to the programs that take its name.

use std::path::Path;
use std::time::Duration;

use simulation::{Calibration, MeasuredStep, ModelShape, Roofs, StepCost};
use sol01_triage::Roofline;
use sol01_triage::calibration::{NotCalibrated, fit, plan, read};

/// Steps of SmolLM2-135M in 4 bits on 2 cores of an AMD EPYC: chunks, and milliseconds.
const RECORDED: [(&[(usize, usize)], f64); 15] = [
    (&[(0, 16)], 8.06),
    (&[(0, 32)], 13.89),
    (&[(0, 64)], 18.39),
    (&[(0, 128)], 35.83),
    (&[(0, 256)], 77.35),
    (&[(0, 512)], 164.87),
    (&[(16, 1)], 3.36),
    (&[(256, 1)], 3.66),
    (&[(1000, 1)], 4.97),
    (&[(256, 1); 2], 3.65),
    (&[(16, 1); 4], 4.04),
    (&[(256, 1); 4], 5.07),
    (&[(256, 1); 8], 7.70),
    (&[(16, 1); 16], 10.55),
    (&[(256, 1), (256, 1), (128, 32)], 15.17),
];
const COMMAND: &str = "`cargo xtask model calibrate`";

fn smollm2() -> ModelShape {
    ModelShape::named("smollm2-135m").expect("a model of the catalogue")
}

fn calibrated() -> Calibration {
    let step = |&(chunks, ms): &(&[(usize, usize)], f64)| MeasuredStep {
        chunks: chunks.to_vec(),
        time_us: ms * 1e3,
    };
    let steps: Vec<MeasuredStep> = RECORDED.iter().map(step).collect();
    Calibration {
        date: "2026-11-23".to_owned(),
        processor: "AMD EPYC".to_owned(),
        threads: 2,
        model: "SmolLM2 135M".to_owned(),
        memory_bytes: 24 << 30,
        roofs: fit(&smollm2(), &steps).expect("both roofs show").into(),
        steps,
    }
}

/// A cache folder of its own; removed when it goes out of scope.
struct Cache(tempfile::TempDir);

impl Cache {
    fn empty() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn with(json: &str) -> Self {
        let cache = Self::empty();
        let folder = cache.0.path().join("calibration");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("cpu.json"), json).expect("a file");
        cache
    }
}

#[test]
fn recorded_steps_make_a_device_that_predicts_them() {
    let calibration = calibrated();
    let roofline = Roofline::new(smollm2(), calibration.device());
    let off = |step: &MeasuredStep| {
        let predicted = roofline.step_time(&plan(step)).total.as_secs_f64() * 1e6;
        (predicted / step.time_us - 1.0).abs()
    };
    let off: Vec<f64> = calibration.steps.iter().map(off).collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    assert!(mean < 0.10, "on average {mean} off: {off:?}");
    assert!(off.iter().all(|off| *off < 0.30), "{off:?}");
    let roofs: Roofs = calibration.roofs.into();
    assert!(roofs.step < Duration::from_millis(4), "no step takes less than that: {roofs:?}");
}

#[test]
fn a_file_that_is_absent_or_broken_names_the_command() {
    assert_eq!(read(Path::new("no such file")), Err(NotCalibrated::Absent));
    assert!(NotCalibrated::Absent.to_string().contains(COMMAND));
    let newer = calibrated().to_json().expect("JSON").replace("\"schema\": 1", "\"schema\": 2");
    let cache = Cache::with(&newer);
    let error = read(&cache.0.path().join("calibration/cpu.json")).unwrap_err().to_string();
    assert!(error.contains("schema 2") && error.contains(COMMAND), "{error}");
}

#[cfg(feature = "cli")]
mod programs {
    use std::process::Command;

    use super::*;

    /// Exit status, standard output, standard error.
    fn run(program: &str, cache: &Cache, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(program);
        command.args(args).env("LLM_LAB_CACHE", cache.0.path()).env("NO_COLOR", "1");
        let output = command.output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    const SIMULATE: &str = env!("CARGO_BIN_EXE_sol01-simulate");
    const ON_CPU: [&str; 8] =
        ["--device", "cpu", "--model", "smollm2-135m", "--rate", "1", "--requests", "50"];

    #[test]
    fn the_simulator_takes_this_machine_once_it_was_measured() {
        let (status, _, said) = run(SIMULATE, &Cache::empty(), &ON_CPU);
        assert_eq!(status, Some(1));
        assert!(said.contains("not measured yet") && said.contains(COMMAND), "{said}");

        let cache = Cache::with(&calibrated().to_json().expect("JSON"));
        let (status, printed, said) = run(SIMULATE, &cache, &ON_CPU);
        assert_eq!(status, Some(0), "{said}");
        assert!(printed.starts_with("smollm2-135m on cpu:"), "{printed}");

        let (status, _, said) =
            run(SIMULATE, &cache, &[&ON_CPU[..], &["--tensor-parallel", "2"]].concat());
        assert_eq!(status, Some(1));
        assert!(said.contains("only one `cpu`"), "{said}");
    }

    #[test]
    fn the_list_has_this_machine_or_says_how_to_get_it() {
        let (_, before, _) = run(SIMULATE, &Cache::empty(), &["--list"]);
        assert!(before.contains("this machine: cargo xtask model calibrate"), "{before}");
        let cache = Cache::with(&calibrated().to_json().expect("JSON"));
        let (_, after, _) = run(SIMULATE, &cache, &["--list"]);
        let line = after.lines().find(|line| line.starts_with("cpu")).expect("a line");
        assert!(line.contains("0.7"), "0.7 TFLOP/s: {line}");
    }

    /// The tiny model: what is measured here are real steps of the real executor.
    #[cfg(feature = "live")]
    #[test]
    fn what_was_measured_here_is_taken_by_the_simulator() {
        let cache = Cache::empty();
        let args = ["--model", "tiny", "--rounds", "3", "--threads", "1"];
        let (status, printed, said) = run(env!("CARGO_BIN_EXE_sol01-calibrate"), &cache, &args);
        assert_eq!(status, Some(0), "{said}");
        assert!(printed.contains("prompt 128..256 + 8 decodes at 256"), "{printed}");
        assert!(printed.contains("error "), "{printed}");
        let found = read(&cache.0.path().join("calibration/cpu.json")).expect("it was kept");
        assert_eq!((found.threads, found.steps.len()), (1, 18));
        assert!(found.steps.iter().all(|step| step.time_us > 0.0));
        let time = |chunks: &[(usize, usize)]| {
            let step = found.steps.iter().find(|step| step.chunks == chunks);
            step.expect("such a step").time_us
        };
        assert!(time(&[(0, 512)]) > time(&[(0, 16)]), "32 times the work takes longer");
        let (status, _, said) = run(SIMULATE, &cache, &ON_CPU);
        assert_eq!(status, Some(0), "{said}");
    }
}

#[cfg(feature = "serve")]
#[test]
fn the_engine_names_the_command_where_this_machine_was_not_measured() {
    let cache = Cache::empty();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sol01-engine"));
    command.args(["--port", "0", "--sim", "cpu:smollm2-135m"]);
    let output = command.env("LLM_LAB_CACHE", cache.0.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(COMMAND), "{said}");
}
