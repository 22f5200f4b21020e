//! Certificates that are replaced while the server runs: new connections use the new ones.
//! Never gives up what works for what does not.
//!
//! # Source
//! Certificate managers, which replace files or the links to them one after the other.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Files;
use super::files::Content;

/// How often one looks; what has changed is used once it is the same at two looks, since a
/// certificate and its key are seldom replaced at one moment.
const EVERY: Duration = Duration::from_secs(1);

/// A certificate that is good for less than this is spoken of ...
const ENDING: Duration = Duration::from_secs(14 * 24 * 3600);

/// ... once in this time.
const DAY: u32 = 24 * 3600;

/// What was no good is judged again after so many looks: a certificate may begin to be good.
const AGAIN: u32 = 60;

/// Reads the files and makes of them what connections use; does so again whenever they change, as
/// long as somebody holds what this returns.
///
/// # Errors
/// They are no good now.
pub fn keep<T: Send + Sync + 'static>(
    files: &Files,
    make: impl Fn(&Files, &Content) -> Result<T> + Send + 'static,
) -> Result<watch::Receiver<T>> {
    let content = files.read()?;
    if let Some(late) = files.late_lists(&content) {
        bail!("{late}");
    }
    let (sender, receiver) = watch::channel(make(files, &content)?);
    tokio::spawn(look_again(files.clone(), content, make, sender));
    Ok(receiver)
}

async fn look_again<T: Send + Sync>(
    files: Files,
    mut used: Content,
    make: impl Fn(&Files, &Content) -> Result<T>,
    sender: watch::Sender<T>,
) {
    let cert = files.called("cert-file", &files.cert);
    let (mut judged, mut seen) = (used.clone(), used.clone());
    let mut told = String::new();
    for look in 0_u32.. {
        if look % DAY == 0 && files.ends_within(&used, ENDING) {
            warn!("{cert}: the certificate expires soon, or has: replace the file");
        }
        if look % DAY == 0
            && let Some(late) = files.late_lists(&used)
        {
            warn!("{late}");
        }
        tokio::time::sleep(EVERY).await;
        if sender.is_closed() {
            return;
        }
        let there = files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || there.read()).await else {
            return;
        };
        let content = match read {
            Ok(content) => content,
            Err(error) => {
                let error = format!("{error:#}");
                if error != told {
                    warn!("certificates stay as they were read: {error}");
                    told = error;
                }
                continue;
            }
        };
        told.clear();
        let is_still = content == seen;
        seen = content;
        let is_due = look % AGAIN == 0 && judged != used;
        if !is_still || seen == judged && !is_due {
            continue;
        }
        let is_new = seen != judged;
        judged = seen.clone();
        // A list that was good when it came does not stand in the way of certificates when it is late.
        let late = files.late_lists(&judged).filter(|_| judged.crl != used.crl);
        let made = match late {
            Some(late) => Err(anyhow!(late)),
            None => make(&files, &judged),
        };
        match made {
            Ok(made) => {
                sender.send_replace(made);
                used = judged.clone();
                info!("{cert}: new connections use what the files hold now");
            }
            Err(error) if is_new => {
                warn!("the new certificates are no good, the old ones go on: {error:#}");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
