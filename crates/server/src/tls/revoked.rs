//! Certificates that are no longer believed, although a CA has signed them.
//! Never asks anybody: what has been revoked stands in a file.
//!
//! # Source
//! RFC 5280, §5; etcd's `--client-crl-file` and `--peer-crl-file`.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::{CertificateError, Error};
use x509_parser::error::X509Error;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use super::files::period;

/// How a file begins that is not PEM: with the tag of a sequence.
const DER: u8 = 0x30;

/// The certificates that the lists of a file take back.
#[derive(Default, Debug)]
pub struct Revoked {
    /// Their serial numbers, without zeros at the beginning.
    serials: BTreeSet<Vec<u8>>,
}

impl Revoked {
    /// What a file says, which is PEM or DER. `cas`: who may have signed it.
    ///
    /// # Errors
    /// It holds no list, or a damaged one. One that should have been replaced by now is taken: see [`late`].
    pub fn from_file(bytes: &[u8], cas: &[CertificateDer<'_>]) -> Result<Self> {
        let mut serials = BTreeSet::new();
        for der in lists(bytes)? {
            let list = parse(&der)?;
            check_signature(&list, cas)?;
            let revoked = list.iter_revoked_certificates();
            serials.extend(revoked.map(|one| plain(one.raw_serial())));
        }
        Ok(Self { serials })
    }

    /// Whether a certificate is still believed.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.serials.is_empty() {
            return Ok(());
        }
        let parsed = parse_x509_certificate(certificate);
        let (_, parsed) =
            parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.serials.contains(&plain(parsed.raw_serial())) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(())
    }
}

/// Which of the lists in a file should have been replaced by now, and since when, in words.
pub fn late(bytes: &[u8]) -> Option<String> {
    lists(bytes).ok()?.iter().find_map(|der| {
        let list = parse(der).ok()?;
        let ago = period(seconds_late(&list)?);
        let issuer = list.issuer();
        Some(format!(
            "the list by {issuer} should have been replaced {ago} ago: take the CA's newest"
        ))
    })
}

/// The lists in a file of PEM, or the one in a file of DER; at least one.
///
/// # Errors
/// There is none.
pub fn lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    if bytes.first() == Some(&DER) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| anyhow!("it is neither PEM nor DER: {error}"))?;
    ensure!(
        !found.is_empty(),
        "it holds no list of revoked certificates (\"-----BEGIN X509 CRL-----\")"
    );
    Ok(found)
}

/// What a list says.
///
/// # Errors
/// It is damaged.
pub fn parse<'a>(
    der: &'a CertificateRevocationListDer<'_>,
) -> Result<CertificateRevocationList<'a>> {
    match parse_x509_crl(der) {
        Ok(([], list)) => Ok(list),
        Ok(_) => bail!("it holds a damaged list: bytes follow it"),
        Err(error) => bail!("it holds a damaged list: {error}"),
    }
}

/// A list that bears the name of one of these CAs must be that one's.
fn check_signature(list: &CertificateRevocationList<'_>, cas: &[CertificateDer<'_>]) -> Result<()> {
    let mut is_of_another = false;
    for ca in cas {
        let Ok((_, ca)) = parse_x509_certificate(ca) else {
            continue;
        };
        if ca.subject().as_raw() != list.issuer().as_raw() {
            continue;
        }
        // Where the signature cannot be judged, the file is believed: it is the operator's.
        match list.verify_signature(ca.public_key()) {
            Err(X509Error::SignatureVerificationError) => is_of_another = true,
            _ => return Ok(()),
        }
    }
    ensure!(
        !is_of_another,
        "the list by {} is not signed by the CA of that name: it is damaged, or another CA's",
        list.issuer()
    );
    Ok(())
}

/// For how long a list should have been replaced; `None` if it is still good.
fn seconds_late(list: &CertificateRevocationList<'_>) -> Option<u64> {
    let until = u64::try_from(list.next_update()?.timestamp()).unwrap_or(0);
    UnixTime::now().as_secs().checked_sub(until)
}

/// A serial number without the zeros at its beginning.
fn plain(serial: &[u8]) -> Vec<u8> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial[zeros..].to_vec()
}

#[cfg(test)]
pub mod tests;
