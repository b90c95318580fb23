//! From the Hugging Face hub: one file, over HTTP.
//!
//! `/OWNER/NAME/resolve/main/FILE` redirects to wherever large files lie, and says in `x-linked-etag` what SHA-256 the file has. So a file
//! that is not the course's is refused before it is fetched. `HF_ENDPOINT` and `HF_TOKEN` mean what they mean to the hub's own client,
//! huggingface_hub, whose `file_download.py` is the source of all this.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::config::RedirectAuthHeaders;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::catalogue::Model;
use crate::error::StoreError;
use crate::interrupt::{Interrupt, POLL};
use crate::sink::Sink;

/// Where the hub is, if nobody says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// The header that names a large file's SHA-256.
const SUM: &str = "x-linked-etag";
/// Bytes of the file that are handed over at a time, and pieces that may wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// A hub.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    endpoint: String,
    /// For models that not everybody may have. Goes to the hub alone, not to where it redirects.
    token: Option<String>,
    /// Longest wait for the hub to answer at all.
    answer_limit: Duration,
    /// Longest silence in the middle of a file.
    silence_limit: Duration,
}

/// A piece of the file, or why there are no more. The first is empty: the hub has answered, and by what it says the file is ours.
type Piece = Result<Vec<u8>, StoreError>;

// === impl Hub ===

impl Hub {
    /// The hub that the environment names.
    pub(crate) fn from_env() -> Self {
        let said = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: said("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: said("HF_TOKEN"),
            answer_limit: Duration::from_secs(10),
            silence_limit: Duration::from_secs(30),
        }
    }

    /// Streams the model's file into the sink that `begin` makes once the hub has answered.
    pub(crate) fn fetch(
        &self,
        model: &'static Model,
        begin: impl FnOnce() -> Result<Sink<File>, StoreError>,
        interrupt: &Interrupt,
    ) -> Result<Sink<File>, StoreError> {
        let (to, pieces) = sync_channel(PIECES);
        let hub = self.clone();
        // Nobody waits for it: a name whose look-up hangs, or a hub that does, would else keep whoever presses Ctrl-C.
        std::thread::spawn(move || {
            if let Err(error) = hub.download(model, &to) {
                let _nobody_listens = to.send(Err(error));
            }
        });
        let ended = || StoreError::Source("the download ended before it began".to_owned());
        next(&pieces, self.answer_limit, interrupt)?.ok_or_else(ended)?;
        let mut sink = begin()?;
        while let Some(piece) = next(&pieces, self.silence_limit, interrupt)? {
            sink.write(&piece)?;
        }
        Ok(sink)
    }

    /// The whole download, until it ends or nobody listens.
    fn download(&self, model: &Model, to: &SyncSender<Piece>) -> Result<(), StoreError> {
        let mut body = self.open(model)?.into_reader();
        let mut go_on = to.send(Ok(Vec::new())).is_ok();
        while go_on {
            let mut piece = vec![0; PIECE];
            let count = body.read(&mut piece).map_err(|error| failed(&error))?;
            piece.truncate(count);
            go_on = count > 0 && to.send(Ok(piece)).is_ok();
        }
        Ok(())
    }

    fn open(&self, model: &Model) -> Result<Body, StoreError> {
        let url = format!("{}/{}/resolve/main/{}", self.endpoint, model.hub, model.file);
        let authorization = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let failed = |error: ureq::Error| match error {
            ureq::Error::StatusCode(status) => {
                StoreError::Source(format!("{url} answered with status {status}"))
            }
            error => failed(&error),
        };
        let agent = self.agent();
        // The hub's own answer, which is no longer seen behind a redirect.
        let mut head = agent.head(&url).config().max_redirects(0).build();
        let mut get = agent.get(&url);
        if let Some(authorization) = authorization {
            head = head.header("Authorization", &authorization);
            get = get.header("Authorization", &authorization);
        }
        let head = head.call().map_err(failed)?;
        let sum = head.headers().get(SUM).and_then(|value| value.to_str().ok());
        check(model, sum)?;
        Ok(get.call().map_err(failed)?.into_body())
    }

    fn agent(&self) -> Agent {
        // What this machine trusts: a company's own authority, too.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .timeout_connect(Some(self.answer_limit))
            .timeout_recv_response(Some(self.answer_limit))
            .timeout_per_read(Some(self.silence_limit));
        config.build().into()
    }
}

/// The next piece; `None` at the end.
fn next(
    pieces: &Receiver<Piece>,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Vec<u8>>, StoreError> {
    let until = Instant::now() + limit;
    loop {
        interrupt.check()?;
        match pieces.recv_timeout(POLL) {
            Ok(piece) => return piece.map(Some),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
            Err(RecvTimeoutError::Timeout) => return Err(StoreError::Timeout(limit.as_secs())),
        }
    }
}

/// Refuses before the download where the hub has another file under this name. Small files have no sum.
fn check(model: &Model, sum: Option<&str>) -> Result<(), StoreError> {
    match sum.map(|sum| sum.trim_matches('"')) {
        Some(sum) if sum != model.sha256 => Err(StoreError::Mismatch {
            expected: format!("sha256 {}", model.sha256),
            found: format!("sha256 {sum}"),
        }),
        _ => Ok(()),
    }
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn failed(error: &(dyn std::error::Error + 'static)) -> StoreError {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    StoreError::Source(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::path::Path;

    use super::*;
    use crate::catalogue::tests::model_of;

    const BYTES: &[u8] = b"the bytes of a model";

    /// A server on loopback that answers each request by its first line and its fields; none where it says nothing more.
    fn server(
        answer: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + 'static,
    ) -> (SocketAddr, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = sync_channel(64);
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                // Whoever has lost patience asks nothing.
                let Some(Ok(first)) = lines.next() else { continue };
                let fields: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let fields = fields.join("\n").to_lowercase();
                let _nobody_looks = tell.send(format!("{first}\n{fields}"));
                match answer(&first, &fields) {
                    Some(bytes) => stream.write_all(&bytes).unwrap(),
                    None => silent.push(stream),
                }
            }
        });
        (address, told)
    }

    fn response(status: &str, fields: &str, body: &[u8]) -> Option<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n"
        );
        Some([head.as_bytes(), body].concat())
    }

    /// A hub that says this sum, and redirects to another server.
    fn hub(sum: &'static str, elsewhere: SocketAddr) -> (Hub, Receiver<String>) {
        let (address, asked) = server(move |first, _| {
            let to = format!(
                "x-linked-etag: \"{sum}\"\r\nlocation: http://localhost:{}/file\r\n",
                elsewhere.port()
            );
            let body: &[u8] = if first.starts_with("HEAD ") { b"" } else { b"elsewhere" };
            response("302 Found", &to, body)
        });
        (at(address), asked)
    }

    fn at(address: SocketAddr) -> Hub {
        Hub {
            endpoint: format!("http://{address}"),
            token: Some("secret".to_owned()),
            answer_limit: Duration::from_secs(60),
            silence_limit: Duration::from_secs(60),
        }
    }

    fn fetch(hub: &Hub, model: &'static Model, to: &Path) -> Result<(), StoreError> {
        let begin = || Sink::create(to, model, "test");
        hub.fetch(model, begin, &Interrupt::default())?.finish()
    }

    #[test]
    fn a_file_is_fetched_from_where_the_hub_sends_and_the_token_stays_at_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let (file, model) = (folder.path().join("file"), model_of(BYTES));
        let (elsewhere, asked_there) = server(|_, _| response("200 OK", "", BYTES));
        let (hub, asked) = hub(model.sha256, elsewhere);
        fetch(&hub, model, &file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), BYTES);
        let path = format!("/{}/resolve/main/{} HTTP/1.1\n", model.hub, model.file);
        for method in ["HEAD", "GET"] {
            let request = asked.recv().unwrap();
            assert!(request.starts_with(&format!("{method} {path}")), "{request}");
            assert!(request.contains("authorization: bearer secret"), "{request}");
        }
        let request = asked_there.recv().unwrap();
        assert!(request.starts_with("GET /file ") && !request.contains("secret"), "{request}");
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_before_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let (elsewhere, asked_there) = server(|_, _| response("200 OK", "", BYTES));
        let (hub, _) = hub("of another file", elsewhere);
        let error = fetch(&hub, model_of(BYTES), &file).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert!(asked_there.try_recv().is_err() && !file.exists());
    }

    #[test]
    fn errors_name_their_cause() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let (address, _asked) = server(|_, _| response("404 Not Found", "", b""));
        let error = fetch(&at(address), model_of(BYTES), &file).unwrap_err().to_string();
        assert!(error.ends_with(".gguf answered with status 404"), "{error}");
        // Nobody has this port any more.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = fetch(&at(gone), model_of(BYTES), &file).unwrap_err().to_string();
        assert!(error.to_lowercase().contains("connection refused"), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn a_file_that_ends_too_early_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let model = model_of(BYTES);
        let (elsewhere, _asked) = server(|_, _| response("200 OK", "", &BYTES[..7]));
        let (hub, _) = hub(model.sha256, elsewhere);
        let error = fetch(&hub, model, &file).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn neither_silence_nor_ctrl_c_waits_for_a_hub_that_hangs() {
        let model = model_of(BYTES);
        let begin = || panic!("nothing has begun");
        let (address, _asked) = server(|_, _| None);
        let impatient = Hub { answer_limit: Duration::from_millis(50), ..at(address) };
        let error = impatient.fetch(model, begin, &Interrupt::default()).unwrap_err();
        assert!(matches!(error, StoreError::Timeout(_) | StoreError::Source(_)), "{error}");
        let (address, asked) = server(|_, _| None);
        let interrupt = Interrupt::default();
        let stop = interrupt.clone();
        std::thread::spawn(move || {
            asked.recv().unwrap();
            stop.set();
        });
        let error = at(address).fetch(model, begin, &interrupt).unwrap_err();
        assert!(matches!(error, StoreError::Interrupted), "{error}");
    }
}
