//! TLS to whoever answers. A probe asks whether a program is well, not who it is: no certificate is verified, as the
//! kubelet does it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Made once: it holds no secret and no session of anybody.
static CONNECTOR: LazyLock<Result<TlsConnector, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
});

/// Speaks TLS on a connection.
///
/// # Errors
/// That of the connection; `InvalidData` when the other side speaks something else.
pub(super) async fn connect(stream: TcpStream, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let connector = CONNECTOR.as_ref().map_err(|error| io::Error::other(error.clone()))?;
    connector.connect(ServerName::from(to.ip()), stream).await
}

/// Takes every certificate for the right one.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::HTTPGetAction;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::pod::hooks::{Call, Failure};

    /// A server whose certificate nobody signed, and for a name that nobody asks for.
    fn acceptor() -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(vec!["somebody.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn get(port: u16, scheme: &str) -> Result<(), Failure> {
        let get = HTTPGetAction {
            scheme: Some(scheme.to_owned()),
            path: Some("/health".to_owned()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        };
        Call::default().http(&get).await
    }

    #[tokio::test]
    async fn a_page_over_tls_is_read_whoever_signed_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let acceptor = acceptor();
            for status in ["200 OK", "503 Service Unavailable"] {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                assert!(asked.starts_with(b"GET /health HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                // Without TLS' own goodbye, as many servers end.
            }
        });
        assert_eq!(get(port, "HTTPS").await, Ok(()));
        let unwell = get(port, "HTTPS").await.unwrap_err();
        assert_eq!(unwell.message, "HTTP probe failed with statuscode: 503");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_is_not_well() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            stream
        });
        let refused = get(port, "HTTPS").await.unwrap_err();
        let said = format!("Get \"https://127.0.0.1:{port}/health\": ");
        assert!(refused.message.starts_with(&said) && !refused.not_listening, "{refused:?}");
        drop(serving.await.unwrap());
        let unknown = get(port, "FTP").await.unwrap_err();
        assert!(unknown.message.contains("unknown scheme"), "{unknown:?}");
    }
}
