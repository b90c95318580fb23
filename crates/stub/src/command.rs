//! What the stub is told on its command line.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::server::Server;

/// Why a command could not be done.
#[derive(Debug)]
pub(crate) enum StubError {
    /// The command line makes no sense.
    Usage,
    /// The system refused, with what was attempted.
    System(String, std::io::Error),
}

impl std::fmt::Display for StubError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage => f.write_str("this command line makes no sense"),
            Self::System(attempt, error) => write!(f, "{attempt}: {error}"),
        }
    }
}

/// The words of a command line: first those without a name, then `--name value`.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(arguments: &'a [String]) -> Result<Self, StubError> {
        let (mut plain, mut named) = (Vec::new(), Vec::new());
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            match word.strip_prefix("--") {
                Some(name) => named.push((name, rest.next().ok_or(StubError::Usage)?.as_str())),
                None => plain.push(word.as_str()),
            }
        }
        Ok(Self { plain, named })
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    fn millis(&self, name: &str) -> Result<Duration, StubError> {
        self.text(name).map_or(Ok(Duration::ZERO), millis)
    }
}

fn millis(text: &str) -> Result<Duration, StubError> {
    text.parse().map(Duration::from_millis).map_err(|_| StubError::Usage)
}

/// Does what `arguments` say.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, StubError> {
    let (name, rest) = arguments.split_first().ok_or(StubError::Usage)?;
    // Lines to print may begin with dashes: these commands take all words as they are.
    match name.as_str() {
        "print" => return rest.iter().try_for_each(|line| say(line)).map(done),
        "echo" => return echo().map(done),
        _ => {}
    }
    let words = Words::of(rest)?;
    match (name.as_str(), words.plain.as_slice()) {
        ("serve", []) => serve(&words),
        ("exit", [code]) => exit(code, &words),
        ("tick", [every]) => tick(millis(every)?),
        ("cat", files) => files.iter().try_for_each(|file| cat(file)).map(done),
        ("env", names) => names.iter().try_for_each(|name| env(name)).map(done),
        ("write", [file, text]) => write(file, text, false).map(done),
        ("append", [file, text]) => write(file, text, true).map(done),
        ("exists", [file]) => Ok(ExitCode::from(u8::from(!std::path::Path::new(file).exists()))),
        ("get", [address]) => get(address).map(done),
        ("sleep", [time]) => sleep(millis(time)?),
        ("stubborn", []) => stubborn(),
        _ => Err(StubError::Usage),
    }
}

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// Prints a line at once: whoever reads a pod's log sees it without delay.
pub(crate) fn say(line: &str) -> Result<(), StubError> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| StubError::System("cannot print".into(), error))
}

fn serve(words: &Words<'_>) -> Result<ExitCode, StubError> {
    let host = words.text("host").unwrap_or("0.0.0.0");
    let port = words.text("port").unwrap_or("8080").parse().map_err(|_| StubError::Usage)?;
    if let Some(line) = words.text("print") {
        say(line)?;
    }
    on_termination(|| {
        let _ = say("terminated");
        std::process::exit(0);
    });
    std::thread::sleep(words.millis("start-ms")?);
    let server = Server::bind(host, port)
        .map_err(|error| StubError::System(format!("cannot listen on {host}:{port}"), error))?;
    say(&format!("serving on {host}:{port}"))?;
    server.run();
    Ok(ExitCode::SUCCESS)
}

fn exit(code: &str, words: &Words<'_>) -> Result<ExitCode, StubError> {
    let code: u8 = code.parse().map_err(|_| StubError::Usage)?;
    if let Some(line) = words.text("print") {
        say(line)?;
    }
    std::thread::sleep(words.millis("after-ms")?);
    Ok(ExitCode::from(code))
}

fn tick(every: Duration) -> Result<ExitCode, StubError> {
    for number in 0_u64.. {
        say(&number.to_string())?;
        std::thread::sleep(every);
    }
    Ok(ExitCode::SUCCESS)
}

fn cat(file: &str) -> Result<(), StubError> {
    let failed = |error| StubError::System(format!("cannot read {file}"), error);
    let text = std::fs::read(file).map_err(failed)?;
    std::io::stdout().write_all(&text).map_err(failed)
}

fn env(name: &str) -> Result<(), StubError> {
    say(&format!("{name}={}", std::env::var(name).unwrap_or_default()))
}

fn write(file: &str, text: &str, append: bool) -> Result<(), StubError> {
    let failed = |error| StubError::System(format!("cannot write {file}"), error);
    let mut options = std::fs::OpenOptions::new();
    let options = if append { options.append(true) } else { options.write(true).truncate(true) };
    let mut file = options.create(true).open(file).map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)
}

/// The longest that a fetched answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

fn get(address: &str) -> Result<(), StubError> {
    let address = address.trim_start_matches("http://");
    let failed = |error| StubError::System(format!("cannot fetch {address}"), error);
    say(fetch(address).map_err(failed)?.1.trim_end())
}

/// Status and body of what is at `HOST:PORT/PATH`.
pub(crate) fn fetch(address: &str) -> std::io::Result<(u16, String)> {
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let mut server = TcpStream::connect(host)?;
    server.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(server, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let nothing = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "no answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(nothing)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(nothing)?;
    Ok((status, body.to_owned()))
}

fn echo() -> Result<(), StubError> {
    let failed = |error| StubError::System("cannot echo".into(), error);
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = [0; 4096];
    loop {
        let read = input.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..read]).and_then(|()| output.flush()).map_err(failed)?;
    }
}

fn sleep(time: Duration) -> Result<ExitCode, StubError> {
    on_termination(|| std::process::exit(0));
    std::thread::sleep(time);
    Ok(ExitCode::SUCCESS)
}

fn stubborn() -> Result<ExitCode, StubError> {
    on_termination(|| {
        let _ = say("asked to end");
    });
    say("stubborn")?;
    loop {
        std::thread::park();
    }
}

/// As process 1 of a container, a program that does not handle SIGTERM does not get it at all.
fn on_termination(act: impl FnMut() + Send + 'static) {
    if let Err(error) = ctrlc::set_handler(act) {
        let _ = writeln!(std::io::stderr(), "stub: SIGTERM is not handled: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_file_is_written_appended_and_found() {
        let folder = std::env::temp_dir().join(format!("stub-{}", std::process::id()));
        let path = folder.display().to_string();
        assert!(run(&["exists".into(), path.clone()]).is_ok());
        assert!(run(&["write".into(), path.clone(), "one".into()]).is_ok());
        assert!(run(&["append".into(), path.clone(), "two".into()]).is_ok());
        assert_eq!(std::fs::read_to_string(&folder).unwrap(), "one\ntwo\n");
        std::fs::remove_file(folder).unwrap();
    }

    #[test]
    fn nonsense_is_told_from_trouble() {
        assert!(matches!(run(&words("dance")), Err(StubError::Usage)));
        assert!(matches!(run(&words("exit many")), Err(StubError::Usage)));
        assert!(matches!(run(&words("serve --port")), Err(StubError::Usage)));
        assert!(matches!(run(&words("cat /no/such/file")), Err(StubError::System(..))));
    }
}
