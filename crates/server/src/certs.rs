//! `headwater certs`: a CA and certificates for a test cluster.
//! Never replaces a file unless told to, and never sends anything anywhere.
//!
//! # Source
//! RFC 5280; what `openssl` and etcd's documentation make people type.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::RootCertStore;
use x509_parser::parse_x509_certificate;

use crate::print;
use crate::tls::files;
use crate::tls::revoked::{self, Revoked};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  A CA, a certificate for a server on this machine, and one for clients:
    headwater certs --dir certs --name n1 --host localhost --host 127.0.0.1

  One more server, of the same CA:
    headwater certs --dir certs --name n2 --host 10.0.0.2 --host n2.example.org

  One more client, whose common name is alice:
    headwater certs --dir certs --client alice

  Alice's key is lost: servers with --client-crl-file certs/ca.crl refuse it from now on:
    headwater certs --dir certs --revoke alice

It prints the flags that use them.
Whoever has DIR/ca.key can make more.
For more than tests, keep it off the servers, or use a CA that you have.";

/// Flags of `headwater certs`.
#[derive(Args, Clone, Debug)]
pub struct CertsArgs {
    /// Where the files are; the CA in it is used if there is one, else made: ca.crt, ca.key, and ca.crl,
    /// its list of revoked certificates
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// A server that gets NAME.crt and NAME.key, for its clients and for the other servers
    #[arg(long, value_name = "NAME", requires = "host")]
    pub name: Option<String>,

    /// A name or address by which that server is reached; may be repeated
    #[arg(long, value_name = "HOST", requires = "name")]
    pub host: Vec<String>,

    /// A client that gets NAME.crt and NAME.key; "client" gets them in any case
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,

    /// A server or client whose certificate, NAME.crt, is added to ca.crl: nobody is to believe it any more
    #[arg(long, value_name = "NAME")]
    pub revoke: Option<String>,

    /// For how many days they are good; the CA and its list for ten times as long
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,

    /// Replace the certificates of that server and that client
    #[arg(long)]
    pub renew: bool,
}

/// Makes what is asked for, and says what was made and how to use it.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn run(args: &CertsArgs) -> Result<()> {
    print::put(make(args)? + &advice(args))
}

/// Makes what is asked for; what was made.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn make(args: &CertsArgs) -> Result<String> {
    fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    let mut maker = Maker {
        args,
        made: String::new(),
        roots: Arc::new(RootCertStore::empty()),
    };
    let issuer = maker.authority()?;
    if let Some(name) = &args.revoke {
        maker.revoke(&issuer, name)?;
    }
    if let Some(name) = &args.name {
        maker.certificate(&issuer, name, &args.host, args.renew)?;
    }
    if let Some(name) = &args.client {
        maker.certificate(&issuer, name, &[], args.renew)?;
    }
    if !maker.path("client", "crt").exists() {
        maker.certificate(&issuer, "client", &[], false)?;
    }
    Ok(maker.made)
}

struct Maker<'a> {
    args: &'a CertsArgs,
    made: String,
    /// The CA's certificate.
    roots: Arc<RootCertStore>,
}

impl Maker<'_> {
    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.args.dir.join(format!("{name}.{ending}"))
    }

    /// The CA that is there, or a new one.
    fn authority(&mut self) -> Result<Issuer<'static, KeyPair>> {
        let (cert, key) = (self.path("ca", "crt"), self.path("ca", "key"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("Headwater test CA");
        (params.not_before, params.not_after) = validity(10 * self.args.days);
        let is_new = !cert.exists() && !key.exists();
        if is_new {
            let pair = KeyPair::generate()?;
            let made = params.self_signed(&pair)?;
            write_secret(&key, pair.serialize_pem().as_bytes())
                .context(key.display().to_string())?;
            fs::write(&cert, made.pem()).context(cert.display().to_string())?;
            let _ = writeln!(self.made, "made {} and its key: a CA", cert.display());
        }
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        self.roots = files::roots(&read(&cert)?).context(cert.display().to_string())?;
        let pair = KeyPair::from_pem(&String::from_utf8_lossy(&read(&key)?));
        let pair = pair.with_context(|| key.display().to_string())?;
        let issuer = Issuer::new(params, pair);
        if is_new {
            self.list(&issuer, Vec::new())?;
        }
        Ok(issuer)
    }

    /// Takes back the certificate of that name.
    fn revoke(&mut self, issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<()> {
        let (list, cert) = (self.path("ca", "crl"), self.path(name, "crt"));
        let said = |path: &Path| path.display().to_string();
        let certificates = fs::read(&cert).context(said(&cert))?;
        let certificates = files::certificates(&certificates).context(said(&cert))?;
        let (_, parsed) = parse_x509_certificate(&certificates[0]).context(said(&cert))?;
        ensure!(
            name != "ca",
            "a CA cannot take itself back: make another one"
        );
        let mut all = match fs::read(&list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => revoked_so_far(&read.context(said(&list))?).context(said(&list))?,
        };
        all.retain(|one| one.serial_number.as_ref() != parsed.raw_serial());
        all.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(parsed.raw_serial()),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        });
        self.list(issuer, all)?;
        let _ = writeln!(
            self.made,
            "revoked {}: it is in {}, which servers look at that have --client-crl-file or \
             --peer-crl-file; connections that stand go on",
            cert.display(),
            list.display()
        );
        Ok(())
    }

    /// Writes the list of what the CA has revoked.
    fn list(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        revoked_certs: Vec<RevokedCertParams>,
    ) -> Result<()> {
        let path = self.path("ca", "crl");
        let (this_update, next_update) = validity(10 * self.args.days);
        let number = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number.as_secs()),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(issuer)?.pem()?;
        let ca = files::certificates(&fs::read(self.path("ca", "crt"))?)?;
        Revoked::from_file(pem.as_bytes(), &ca)?;
        fs::write(&path, pem).with_context(|| path.display().to_string())
    }

    fn certificate(
        &mut self,
        issuer: &Issuer<'_, KeyPair>,
        name: &str,
        hosts: &[String],
        replaces: bool,
    ) -> Result<()> {
        crate::config::check_name(name)?;
        ensure!(
            !name.contains('/') && name != "ca",
            "\"{name}\" cannot be the name of a certificate's file"
        );
        let (cert, key) = (self.path(name, "crt"), self.path(name, "key"));
        ensure!(
            replaces || !cert.exists() && !key.exists(),
            "{} is there already; --renew replaces it",
            if cert.exists() { &cert } else { &key }.display()
        );
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Servers dial each other, too.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !hosts.is_empty() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        (params.not_before, params.not_after) = validity(self.args.days);
        let pair = KeyPair::generate()?;
        let made = params.signed_by(&pair, issuer)?;
        files::verify_as_client(made.der(), &self.roots)?.with_context(|| {
            format!(
                "{} is not a CA that this program has made, or ca.key is not its key",
                self.path("ca", "crt").display()
            )
        })?;
        write_secret(&key, pair.serialize_pem().as_bytes()).context(key.display().to_string())?;
        fs::write(&cert, made.pem()).context(cert.display().to_string())?;
        let whom = match hosts {
            [] => format!("the client {name}"),
            hosts => format!("the server {name} at {}", hosts.join(", ")),
        };
        let days = self.args.days;
        let cert = cert.display();
        let _ = writeln!(
            self.made,
            "made {cert} and its key: for {whom}, good for {days} days"
        );
        Ok(())
    }
}

/// What a list has revoked.
fn revoked_so_far(bytes: &[u8]) -> Result<Vec<RevokedCertParams>> {
    let mut all = Vec::new();
    for der in revoked::lists(bytes)? {
        let list = revoked::parse(&der)?;
        all.extend(
            list.iter_revoked_certificates()
                .map(|one| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(one.raw_serial()),
                    revocation_time: one.revocation_date.to_datetime(),
                    reason_code: None,
                    invalidity_date: None,
                }),
        );
    }
    Ok(all)
}

fn advice(args: &CertsArgs) -> String {
    let dir = args.dir.display();
    let mut text = String::new();
    if let (Some(name), Some(host)) = (&args.name, args.host.first()) {
        let _ = write!(
            text,
            "\nStart {name} with https:// in its URLs and\n  \
             --cert-file {dir}/{name}.crt --key-file {dir}/{name}.key --trusted-ca-file {dir}/ca.crt \\\n  \
             --peer-cert-file {dir}/{name}.crt --peer-key-file {dir}/{name}.key \
             --peer-trusted-ca-file {dir}/ca.crt\n\n\
             Ask it with\n  \
             etcdctl --endpoints https://{host}:2379 --cacert {dir}/ca.crt --cert {dir}/client.crt \
             --key {dir}/client.key endpoint health\n"
        );
    }
    text
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// From an hour ago, since clocks differ, for so many days.
pub fn validity<T: From<SystemTime>>(days: u32) -> (T, T) {
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
    let now = SystemTime::now();
    ((now - hour).into(), (now + days * day).into())
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// What the system says.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that is there keeps the rights it has, so it goes.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}
