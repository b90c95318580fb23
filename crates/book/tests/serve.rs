//! The server shows the book to this machine only, and nothing but the book.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use book::serve::{Site, listen, router};
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    media_type: String,
    text: String,
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir_all(out.join("lab-1")).unwrap();
    std::fs::write(out.join("index.html"), "<p>home").unwrap();
    std::fs::write(out.join("lab-1/index.html"), "<p>lab").unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret", out.join("link")).unwrap();
    dir
}

async fn ask(dir: &Path, uri: &str, host: &str) -> Answer {
    let site = Site::new(dir.join("out"), &dir.join("state.json"));
    let request = Request::builder().uri(uri).header("host", host).body(Body::empty()).unwrap();
    let response = router(site).oneshot(request).await.unwrap();
    let header = response.headers().get("content-type").map(|value| value.to_str().unwrap());
    let media_type = header.unwrap_or_default().to_owned();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, media_type, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

#[tokio::test]
async fn serves_pages_and_folders() {
    let dir = folder();
    let home = ask(dir.path(), "/", "127.0.0.1:3000").await;
    assert_eq!((home.status, home.text.as_str()), (StatusCode::OK, "<p>home"));
    assert_eq!(home.media_type, "text/html; charset=utf-8");
    let lab = ask(dir.path(), "/lab-1/", "localhost:3000").await;
    assert_eq!(lab.text, "<p>lab");
    let none = ask(dir.path(), "/none.html", "localhost").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn refuses_to_leave_the_folder() {
    let dir = folder();
    for uri in ["/../secret", "/lab-1/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/link"] {
        let answer = ask(dir.path(), uri, "localhost").await;
        assert!(answer.status.is_client_error(), "{uri}: {}", answer.status);
        assert!(!answer.text.contains("secret"), "{uri}");
    }
}

#[tokio::test]
async fn refuses_a_name_that_is_not_this_machine() {
    let dir = folder();
    let answer = ask(dir.path(), "/", "evil.example").await;
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn tells_progress_as_the_grader_wrote_it() {
    let dir = folder();
    let before = ask(dir.path(), "/-/live", "localhost").await;
    assert_eq!(before.text, r#"{"build":1,"error":null,"state":null}"#);
    std::fs::write(dir.path().join("state.json"), r#"{"version":1}"#).unwrap();
    let after = ask(dir.path(), "/-/live", "localhost").await;
    assert_eq!(after.text, r#"{"build":1,"error":null,"state":{"version":1}}"#);
    std::fs::write(dir.path().join("state.json"), "{ broken").unwrap();
    assert_eq!(ask(dir.path(), "/-/live", "localhost").await.text, before.text);
}

#[tokio::test]
async fn listens_on_the_loopback_address_only() {
    let first = listen(0).await.unwrap();
    let address = first.local_addr().unwrap();
    assert!(address.ip().is_loopback());
    let taken = listen(address.port()).await.unwrap_err().to_string();
    assert!(
        taken.starts_with(&format!("cannot listen on 127.0.0.1:{}", address.port())),
        "{taken}"
    );
}

#[tokio::test]
async fn builds_again_when_a_source_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("book"), dir.path().join("out"));
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::write(root.join("book.toml"), "[book]\ntitle = \"Fixture\"\n").unwrap();
    std::fs::write(root.join("src/SUMMARY.md"), "# Summary\n\n- [One](one.md)\n").unwrap();
    std::fs::write(root.join("src/one.md"), "# One\n").unwrap();
    let site = Site::new(book::build(&root, &out).unwrap().out, &dir.path().join("state.json"));
    site.rebuild_on_change(root.clone(), Vec::new());

    let mut page = String::new();
    for attempt in 0..100 {
        // Written again each time: the first write may come before the watcher's first look.
        std::fs::write(root.join("src/one.md"), format!("# Changed {attempt}\n")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let request = Request::builder().uri("/one.html").body(Body::empty()).unwrap();
        let response = router(site.clone()).oneshot(request).await.unwrap();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        page = String::from_utf8(bytes.to_vec()).unwrap();
        if page.contains("Changed") {
            return;
        }
    }
    panic!("never built again: {page}");
}
