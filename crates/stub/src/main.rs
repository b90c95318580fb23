//! A pod with nothing to do: it serves, prints, fails and waits as it is told.
//!
//! Tests of a cluster need programs whose behaviour is known. This one has no need of a shell or of any file, so it is
//! a whole image by itself. It knows nothing of Kubernetes.

mod command;
mod server;

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "stub: a pod with nothing to do

  stub serve [--host ADDRESS] [--port N] [--start-ms N] [--print LINE]
                                serve HTTP: GET / /healthz /readyz /env/NAME /file/PATH /print/LINE
                                /bytes/N /fetch/HOST:PORT/PATH (how a request from here goes)
                                POST /sick /well /unready /ready /exit/CODE; any method /echo
                                GET /metrics, POST /gauge/NAME/VALUE
  stub exit CODE [--after-ms N] [--print LINE]
  stub print LINE...            print each on a line
  stub tick MS                  print 0, 1, 2, ... every MS milliseconds
  stub cat FILE...              print files
  stub env NAME...              print variables as NAME=value
  stub write FILE TEXT          write a file
  stub append FILE TEXT         append a line to a file
  stub exists FILE              exit 0 when it is there, 1 when not
  stub get HOST:PORT/PATH       fetch by HTTP and print the body
  stub echo                     copy standard input to standard output
  stub sleep MS                 do nothing; SIGTERM ends it with status 0
  stub stubborn                 do nothing; SIGTERM is printed and ignored
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::run(&arguments) {
        Ok(code) => code,
        Err(command::StubError::Usage) => {
            let _ = std::io::stderr().write_all(HELP.as_bytes());
            ExitCode::from(2)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "stub: {error}");
            ExitCode::from(1)
        }
    }
}
