use std::fs;
use std::path::PathBuf;

use fanfare_testkit::certificate::Certificate;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::reload::Look;

/// Returns the settings of a node with this certificate.
pub(crate) fn config(certificate: &Certificate) -> TlsConfig {
    let (certificate, key) = (Some(certificate.certificate_file()), Some(certificate.key_file()));
    TlsConfig { certificate, key, ..TlsConfig::default() }
}

fn load(certificate: &Certificate) -> (Tls, Renewal) {
    Tls::load(&config(certificate), TlsMetrics::default()).unwrap().unwrap()
}

fn check(config: &TlsConfig) -> Result<(), TlsError> {
    Tls::load(config, TlsMetrics::default()).map(drop)
}

#[test]
fn without_files_there_is_no_tls() {
    assert!(Tls::load(&TlsConfig::default(), TlsMetrics::default()).unwrap().is_none());
}

#[test]
fn an_error_names_the_file_that_is_wrong() {
    let own = Certificate::default();
    let (certificate, key) = (own.certificate_file(), own.key_file());
    let other = Certificate::default();
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let cut = text(&certificate).replace("-----END", "");
    for (certificate_text, key_text, file, word) in [
        ("", &text(&key)[..], &certificate, "no certificate"),
        (&text(&key), &text(&key), &certificate, "no certificate"),
        (&cut, &text(&key), &certificate, "not PEM"),
        (&text(&certificate), "", &key, "no private key"),
        (&text(&certificate), &text(&certificate), &key, "no private key"),
        (&text(&certificate), &text(&other.key_file()), &key, "does not match"),
    ] {
        let damaged = Certificate::default();
        fs::write(damaged.certificate_file(), certificate_text).unwrap();
        fs::write(damaged.key_file(), key_text).unwrap();
        let error = check(&config(&damaged)).unwrap_err().to_string();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(word) && error.contains(name), "{error}");
        assert!(!error.contains("BEGIN EC"), "{error}");
    }
    fs::remove_file(&key).unwrap();
    let error = check(&config(&own)).unwrap_err().to_string();
    assert!(error.contains("key.pem cannot be read"), "{error}");
    let half = TlsConfig { key: None, ..config(&own) };
    assert!(check(&half).unwrap_err().to_string().contains("tls.key"));
}

#[test]
fn a_renewed_pair_is_taken_when_it_is_whole_and_a_fault_is_reported_once() {
    let own = Certificate::default();
    let (tls, mut renewal) = load(&own);
    let shown = || Arc::clone(&tls.shown.0.read().unwrap());
    let first = shown();
    assert_eq!(renewal.certificate.look(), Look::Same);
    let old_key = fs::read(own.key_file()).unwrap();
    own.renew();
    let (certificate, key) = (fs::read(own.certificate_file()).unwrap(), fs::read(own.key_file()).unwrap());
    fs::write(own.key_file(), old_key).unwrap();
    fs::write(own.certificate_file(), &certificate[..100]).unwrap();
    assert_eq!((renewal.certificate.look(), renewal.certificate.look()), (Look::Refused, Look::Same));
    fs::write(own.certificate_file(), &certificate).unwrap();
    // The key is still the old one's.
    assert_eq!((renewal.certificate.look(), renewal.certificate.look()), (Look::Refused, Look::Same));
    assert!(Arc::ptr_eq(&first, &shown()));
    fs::write(own.key_file(), &key).unwrap();
    assert_eq!((renewal.certificate.look(), renewal.certificate.look()), (Look::Taken, Look::Same));
    assert_ne!(first.cert, shown().cert);
    fs::remove_file(own.key_file()).unwrap();
    assert_eq!((renewal.certificate.look(), renewal.certificate.look()), (Look::Refused, Look::Same));
    fs::write(own.key_file(), &key).unwrap();
    assert_eq!(renewal.certificate.look(), Look::Same);
}

/// Connects twice with one client. Returns how the second handshake was made.
async fn second_handshake(tls: &Tls, client: ClientConfig) -> Option<HandshakeKind> {
    let connector = TlsConnector::from(Arc::new(client));
    let mut kind = None;
    for _ in 0..2 {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut socket = tls.accept(theirs).await.unwrap();
            socket.write_all(b"x").await.unwrap();
            socket.flush().await.unwrap();
            socket
        };
        let connect = async {
            let mut socket = connector.connect("localhost".try_into().unwrap(), ours).await.unwrap();
            // Tickets come before it.
            socket.read_u8().await.unwrap();
            socket.get_ref().1.handshake_kind()
        };
        kind = tokio::join!(serve, connect).1;
    }
    kind
}

#[tokio::test]
async fn each_connection_shows_its_client_certificate_since_none_resumes_a_session() {
    let (own, clients) = (Certificate::default(), Certificate::default());
    let (tls, _) = load(&own);
    assert_eq!(second_handshake(&tls, own.client(&[])).await, Some(HandshakeKind::Resumed));
    let requires = TlsConfig { client_ca: Some(clients.authority_file()), ..config(&own) };
    let (tls, _) = Tls::load(&requires, TlsMetrics::default()).unwrap().unwrap();
    let client = own.shown(&clients.for_client("web", true));
    assert_eq!(second_handshake(&tls, client.client(&[])).await, Some(HandshakeKind::Full));
}

#[test]
fn changed_authorities_are_taken_when_they_are_whole() {
    let (own, clients) = (Certificate::default(), Certificate::default());
    let file = clients.authority_file();
    let requires = TlsConfig { client_ca: Some(file.clone()), ..config(&own) };
    let (_, mut renewal) = Tls::load(&requires, TlsMetrics::default()).unwrap().unwrap();
    let clients = renewal.clients.as_mut().unwrap();
    assert_eq!(clients.look(), Look::Same);
    for damaged in ["", "-----BEGIN CERTIFICATE-----", &fs::read_to_string(own.key_file()).unwrap()] {
        fs::write(&file, damaged).unwrap();
        let error = check(&requires).unwrap_err().to_string();
        assert!(error.contains("authority.pem") && !error.contains("BEGIN PRIVATE"), "{error}");
        clients.look();
    }
    fs::copy(own.authority_file(), &file).unwrap();
    assert_eq!((clients.look(), clients.look()), (Look::Taken, Look::Same));
}
