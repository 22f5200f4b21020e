use super::*;
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// What a client makes of an answer of these parts, with these trailers, if any.
async fn answer_of(
    parts: &'static [&'static [u8]],
    trailers: Option<[(&'static str, &'static str); 2]>,
) -> Result<Vec<Bytes>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    spawn_local(async move {
        let (socket, _) = listener.accept().await?;
        let mut connection = h2::server::handshake(socket).await?;
        while let Some(request) = connection.accept().await {
            let mut respond = request?.1;
            let mut stream = respond.send_response(Response::new(()), false)?;
            let (last, others) = parts.split_last().context("no parts")?;
            for part in others {
                stream.send_data(Bytes::from_static(part), false)?;
            }
            stream.send_data(Bytes::from_static(last), trailers.is_none())?;
            if let Some(trailers) = trailers {
                let pairs = trailers.map(|(name, text)| {
                    let name = HeaderName::from_static(name);
                    (name, HeaderValue::from_static(text))
                });
                stream.send_trailers(pairs.into_iter().collect())?;
            }
        }
        anyhow::Ok(())
    });
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut send, connection) = h2::client::Builder::new()
        .handshake::<_, Bytes>(Gathering(socket))
        .await?;
    spawn_local(connection);
    let head = Request::builder().uri(format!("http://127.0.0.1:{port}/a/b"));
    let mut answers = Answers::of(send.send_request(head.body(())?, true)?.0);
    let mut messages = Vec::new();
    while let Some(message) = answers.next().await? {
        messages.push(message);
    }
    Ok(messages)
}

const WELL: Option<[(&str, &str); 2]> = Some([("grpc-status", "0"), ("grpc-message", "")]);

#[tokio::test]
async fn messages_come_whole_however_they_were_cut() {
    let test = async {
        let whole = answer_of(&[&[0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 1, 9]], WELL).await;
        let cut = answer_of(&[&[0, 0, 0], &[0, 2, 7], &[8, 0, 0, 0, 0, 1], &[9]], WELL).await;
        let expected = [Bytes::from_static(&[7, 8]), Bytes::from_static(&[9])];
        assert_eq!(whole.unwrap(), expected);
        assert_eq!(cut.unwrap(), expected);
        assert!(answer_of(&[b""], WELL).await.unwrap().is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_well_is_an_error() {
    let test = async {
        let refused = Some([("grpc-status", "14"), ("grpc-message", "no%20leader")]);
        let nothing = Some([("server", "x"), ("via", "y")]);
        const WHOLE: &[&[u8]] = &[&[0, 0, 0, 0, 1, 7]];
        const SHORT: &[&[u8]] = &[&[0, 0, 0, 0, 2, 7]];
        const COMPRESSED: &[&[u8]] = &[&[1, 0, 0, 0, 1, 7]];
        for (parts, trailers, says) in [
            (WHOLE, None, "no trailers"),
            (WHOLE, nothing, "no status"),
            (WHOLE, refused, "status 14: no leader"),
            (SHORT, WELL, "ends within a message"),
            (COMPRESSED, WELL, "a compressed answer"),
        ] {
            let error = answer_of(parts, trailers).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error} for {says}");
        }
    };
    LocalSet::new().run_until(test).await;
}
