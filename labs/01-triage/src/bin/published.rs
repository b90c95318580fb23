//! Prints published measurements of vLLM beside what this lab's scheduler, pool and roofline predict for the same runs.

use std::process::ExitCode;

use lab01_triage::published;

fn main() -> ExitCode {
    match published::table() {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
