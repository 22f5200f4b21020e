//! Tokens with keys of the operator's: what `--auth-token jwt,...` says.
//! Never keeps a key in the store or shows one.
//!
//! # Source
//! RFC 7519 (JSON Web Token), RFC 7518 (its algorithms); etcd's `--auth-token`.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use headwater_ctl::quantity;

/// How long a token is good unless the flag says otherwise, as in etcd.
const TTL: Duration = Duration::from_secs(5 * 60);

/// Keys, and what is done with them.
#[derive(Clone)]
pub struct Jwt {
    /// How tokens are signed.
    pub algorithm: Algorithm,
    /// How long they are good.
    pub ttl: Duration,
    /// Signs them; `None` where somebody else does.
    pub signs: Option<EncodingKey>,
    /// Checks them.
    pub checks: DecodingKey,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Jwt({:?})", self.algorithm)
    }
}

/// What the flag's options say.
#[derive(Default)]
struct Options {
    method: Option<String>,
    public: Option<Vec<u8>>,
    private: Option<Vec<u8>>,
    ttl: Option<Duration>,
}

impl Jwt {
    /// What `--auth-token` says; `None` for the cluster's own tokens.
    ///
    /// # Errors
    /// It says nothing that can be done.
    pub fn parse(flag: &str) -> Result<Option<Self>> {
        let (kind, options) = flag.split_once(',').unwrap_or((flag, ""));
        match kind {
            "simple" | "" => return Ok(None),
            "jwt" => {}
            _ => bail!("--auth-token \"{flag}\" is neither simple nor jwt,..."),
        }
        let options = Options::parse(options)?;
        let method = options.method.as_deref().unwrap_or_default();
        let Ok(algorithm) = method.parse::<Algorithm>() else {
            bail!(
                "--auth-token: sign-method=\"{method}\" is none of HS256, HS384, HS512, RS256, RS384, \
                 RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            );
        };
        let (signs, checks) = keys(
            algorithm,
            options.public.as_deref(),
            options.private.as_deref(),
        )
        .context("--auth-token")?;
        Ok(Some(Self {
            algorithm,
            ttl: options.ttl.unwrap_or(TTL),
            signs,
            checks,
        }))
    }
}

impl Options {
    fn parse(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let read = || fs::read(value).with_context(|| format!("--auth-token: {name}={value}"));
            match name {
                "sign-method" => options.method = Some(value.to_owned()),
                "pub-key" => options.public = Some(read()?),
                "priv-key" => options.private = Some(read()?),
                "ttl" => {
                    let ttl = quantity::time(value).map_err(anyhow::Error::msg);
                    let ttl = ttl.context("--auth-token: ttl")?;
                    ensure!(
                        !ttl.is_zero(),
                        "--auth-token: ttl must be more than nothing"
                    );
                    options.ttl = Some(ttl);
                }
                _ => bail!(
                    "--auth-token: \"{name}\" is none of sign-method, pub-key, priv-key and ttl"
                ),
            }
        }
        Ok(options)
    }
}

/// What signs, if there is a private key, and what checks.
fn keys(
    algorithm: Algorithm,
    public: Option<&[u8]>,
    private: Option<&[u8]>,
) -> Result<(Option<EncodingKey>, DecodingKey)> {
    if matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    ) {
        let secret = private
            .or(public)
            .context("the secret is missing: priv-key=FILE")?;
        ensure!(!secret.is_empty(), "the secret is empty");
        let keys = (
            EncodingKey::from_secret(secret),
            DecodingKey::from_secret(secret),
        );
        return Ok((Some(keys.0), keys.1));
    }
    let public = public.context("what checks tokens is missing: pub-key=FILE, in PEM")?;
    let (checks, signs) = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => (
            DecodingKey::from_ec_pem(public),
            private.map(EncodingKey::from_ec_pem),
        ),
        Algorithm::EdDSA => (
            DecodingKey::from_ed_pem(public),
            private.map(EncodingKey::from_ed_pem),
        ),
        _ => (
            DecodingKey::from_rsa_pem(public),
            private.map(EncodingKey::from_rsa_pem),
        ),
    };
    let signs = signs
        .transpose()
        .with_context(|| format!("priv-key is no key for {algorithm:?}"))?;
    Ok((
        signs,
        checks.with_context(|| format!("pub-key is no key for {algorithm:?}"))?,
    ))
}
