//! TLS between the binary and itself, and what is said when it fails.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::server::{Ran, Server, folder, run};

/// Makes `cert.pem` and `key.pem` as people do.
fn openssl(folder: &Path, more: &[&str]) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=gate"])
        .args(more)
        .output()
        .expect("openssl runs; the package 'openssl' has it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Makes `cert.pem` and `key.pem` for a name, with the years it is valid in.
fn certificate(folder: &Path, name: &str, years: (i32, i32)) {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
}

fn server(folder: &Path) -> Server {
    let server = Server::start(folder, &[], &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    server
}

fn refused(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, 3, "{ran:?}");
    says.iter().for_each(|wanted| assert!(ran.err.contains(wanted), "{wanted}: {ran:?}"));
}

#[test]
fn what_openssl_signs_by_itself_is_trusted_where_it_is_in_the_file() {
    let folder = folder();
    openssl(folder.path(), &["-addext", "subjectAltName=IP:127.0.0.1"]);
    let server = server(folder.path());
    let friend = server.ok(&["health", "--ca-file", "cert.pem"]);
    assert!(friend.out.contains("healthy"), "{friend:?}");
    refused(&server.run(&["health"]), &["self-signed, and not trusted here", "hint: --ca-file FILE"]);
    std::fs::copy(folder.path().join("cert.pem"), folder.path().join("served.pem")).expect("copied");
    openssl(folder.path(), &["-addext", "subjectAltName=IP:127.0.0.1"]);
    let other = server.run(&["health", "--ca-file", "cert.pem"]);
    refused(&other, &["the server's certificate is signed by nobody that is trusted here"]);
    server.ok(&["health", "--ca-file", "served.pem"]);
    std::fs::write(folder.path().join("empty.pem"), "").expect("written");
    let wrong = server.run(&["health", "--ca-file", "empty.pem"]);
    assert!(wrong.code == 2 && wrong.err.contains("there is no certificate in it"), "{wrong:?}");
}

#[test]
fn a_certificate_for_another_name_is_refused_though_it_is_trusted() {
    let folder = folder();
    openssl(folder.path(), &["-addext", "subjectAltName=DNS:gate.example"]);
    let server = server(folder.path());
    let ran = server.run(&["health", "--ca-file", "cert.pem"]);
    refused(
        &ran,
        &["the server's certificate is not for 127.0.0.1 but for", "gate.example", "subjectAltName"],
    );
}

#[test]
fn a_certificate_is_refused_after_and_before_its_time() {
    for (years, says) in [((2001, 2002), "has expired"), ((2901, 2902), "is not valid yet")] {
        let folder = folder();
        certificate(folder.path(), "127.0.0.1", years);
        let server = server(folder.path());
        refused(&server.run(&["health", "--ca-file", "cert.pem"]), &["the server's certificate", says]);
    }
}

#[test]
fn who_cannot_be_reached_is_told_why() {
    let folder = folder();
    certificate(folder.path(), "127.0.0.1", (2001, 2901));
    let ask = |url: &str| run(folder.path(), &[], &["health", "--ca-file", "cert.pem", "--url", url]);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    refused(
        &ask(&format!("https://{closed}")),
        &["the connection is refused", "'tollgate serve' starts one"],
    );
    refused(&ask("https://gate.invalid"), &["(DNS)", "spelled right?"]);
    // TLS where none is spoken, and the other way round.
    let plain = Server::start(folder.path(), &[], &[]);
    let url = plain.url.replace("http://", "https://");
    refused(&ask(&url), &["TLS: ", "http:// in place of https://"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x32\r\n\r\n");
    });
    refused(&ask(&url), &["is not HTTP", "https:// in place of http://"]);
}
