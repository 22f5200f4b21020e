//! Whose token is good, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use headwater_kv::auth::{Asker, Auth, Proof, User};
use headwater_kv::request::KvError;

use super::Tokens;
use crate::auth::AuthSettings;

fn auth(secret: &'static [u8]) -> Auth {
    let user = User {
        password: None,
        roles: BTreeSet::new(),
        since: 3,
    };
    Auth {
        is_enabled: true,
        revision: 7,
        secret: Bytes::from_static(secret),
        users: [("ann".to_owned(), user)].into(),
        ..Auth::default()
    }
}

fn tokens(flag: &str, ttl_seconds: u64) -> Tokens {
    Tokens::new(AuthSettings::parse(flag, ttl_seconds, 4).expect("sound flags"))
}

#[test]
fn any_member_can_check_what_another_signed() {
    let (one, other) = (tokens("simple", 300), tokens("simple", 300));
    let state = auth(b"0123456789abcdef");
    let token = one.issue(&state, "ann", 3).expect("a token");
    let ann = Asker::User("ann".to_owned(), Proof::Since(3));
    assert_eq!(other.check(&state, &token), Ok(ann.clone()));
    assert_eq!(other.check(&state, &token), Ok(ann));
    assert_eq!(Tokens::revision(&token), Some(7));
}

#[test]
fn a_token_of_another_secret_is_nobodys() {
    let tokens = tokens("simple", 300);
    let state = auth(b"0123456789abcdef");
    let token = tokens.issue(&state, "ann", 3).expect("a token");
    let invalid = Err(KvError::InvalidAuthToken);
    // Known as genuine or not, it does not outlive the secret.
    assert!(tokens.check(&state, &token).is_ok());
    assert_eq!(tokens.check(&auth(b"another"), &token), invalid);
    assert_eq!(tokens.check(&auth(b""), &token), invalid);
    // Nobody signs with nothing where there is no secret yet.
    let forged = tokens.issue(&auth(b""), "ann", 3).expect("a token");
    assert_eq!(tokens.check(&auth(b""), &forged), invalid);
}

#[test]
fn what_is_no_token_is_nobodys() {
    let tokens = tokens("simple", 300);
    let state = auth(b"0123456789abcdef");
    let token = tokens.issue(&state, "ann", 3).expect("a token");
    let cut = &token[..token.len() - 1];
    // Without a signature at all: the algorithm "none".
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6ImFubiIsInJldmlzaW9uIjo3LCJzaW5jZSI6M30.";
    let long = "a".repeat(1 << 20);
    for wrong in ["", ".", "..", "abc.1", cut, unsigned, &long] {
        assert_eq!(
            tokens.check(&state, wrong),
            Err(KvError::InvalidAuthToken),
            "{wrong}"
        );
    }
}

#[test]
fn a_token_is_good_for_as_long_as_it_is_used() {
    let tokens = tokens("simple", 2);
    let state = auth(b"0123456789abcdef");
    let token = tokens.issue(&state, "ann", 3).expect("a token");
    for _ in 0..4 {
        assert!(tokens.check(&state, &token).is_ok());
        std::thread::sleep(Duration::from_millis(700));
    }
    std::thread::sleep(Duration::from_millis(2100));
    let invalid = Err(KvError::InvalidAuthToken);
    assert_eq!(tokens.check(&state, &token), invalid);
    // Nor does it come back, having been forgotten.
    assert_eq!(tokens.check(&state, &token), invalid);
}

#[test]
fn a_token_of_keys_ends_with_its_time_and_with_the_revision() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "a secret of the operator's").expect("written");
    let flag = format!("jwt,sign-method=HS256,priv-key={},ttl=1s", file.display());
    let tokens = tokens(&flag, 300);
    let state = auth(b"");
    let token = tokens.issue(&state, "ann", 3).expect("a token");
    let ann = Asker::User("ann".to_owned(), Proof::Revision(7));
    assert_eq!(tokens.check(&state, &token), Ok(ann));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(tokens.check(&state, &token), Err(KvError::InvalidAuthToken));
}

#[test]
fn flags_that_make_no_tokens_are_refused() {
    let refused = |flag: &str, told: &str| {
        let error = AuthSettings::parse(flag, 300, 10).expect_err(flag);
        assert!(format!("{error:#}").contains(told), "{error:#}");
    };
    refused("other", "neither simple nor jwt");
    refused("jwt", "sign-method");
    refused("jwt,sign-method=none", "sign-method");
    refused("jwt,sign-method=RS256", "pub-key");
    refused("jwt,sign-method=HS256", "priv-key");
    refused("jwt,sign-method=RS256,pub-key=/no/such", "/no/such");
    refused("jwt,sign-method=RS256,colour=red", "colour");
    assert!(AuthSettings::parse("simple", 300, 3).is_err());
    assert!(AuthSettings::parse("simple", 0, 10).is_err());
}
