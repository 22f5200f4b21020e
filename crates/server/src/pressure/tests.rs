//! Room that is given, waited for, refused, and given back.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use headwater_api::etcdserverpb::{RangeResponse, ResponseHeader};
use headwater_api::mvccpb::KeyValue;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tonic::codegen::StdError;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::*;

/// How long an answer waits here.
const PATIENCE: Duration = Duration::from_millis(400);

fn answer(value_bytes: usize) -> RangeResponse {
    let kv = KeyValue {
        value: Bytes::from(vec![0; value_bytes]),
        ..KeyValue::default()
    };
    RangeResponse {
        kvs: vec![kv],
        ..RangeResponse::default()
    }
}

#[tokio::test]
async fn an_answer_waits_for_room_and_not_for_ever() {
    let answers = Answers::new(PATIENCE);
    let first = answers.fit(answer(200 << 20)).await.expect("room");
    let begin = Instant::now();
    let second = answers.fit(answer(100 << 20)).await;
    assert_eq!(second.expect_err("no room"), Failure::Busy);
    assert!(begin.elapsed() >= PATIENCE);
    // What is small needs none, and what there is room for passes.
    assert!(answers.fit(answer(100)).await.is_ok());
    assert!(answers.fit(answer(40 << 20)).await.is_ok());
    let waits = tokio::spawn({
        let answers = answers.clone();
        async move { answers.fit(answer(100 << 20)).await.is_ok() }
    });
    tokio::time::sleep(PATIENCE / 4).await;
    drop(first);
    assert!(waits.await.expect("no panic"), "there is room again");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_gives_its_room_back() {
    let answers = Answers::new(STALL_TIME / 4);
    let fitted = answers.fit(answer(ANSWERS_BYTES_MAX)).await.expect("room");
    let (_, message, extensions) = fitted.into_parts();
    let body = StreamBody::new(ReceiverStream::new({
        let (sender, receiver) = mpsc::channel::<Piece>(1);
        let data = Bytes::from(message.encode_to_vec());
        sender.try_send(Ok(Frame::data(data))).expect("a place");
        receiver
    }));
    let mut response = Response::new(Body::new(body));
    *response.extensions_mut() = extensions;
    let mut body = held(response, None).into_body();
    let first = body.frame().await.expect("a piece").expect("no error");
    assert_eq!(first.into_data().expect("data").len(), PIECE_BYTES);
    assert!(answers.fit(answer(1 << 20)).await.is_err());
    tokio::time::sleep(2 * STALL_TIME).await;
    assert!(answers.fit(answer(1 << 20)).await.is_ok());
    // Who comes back to it hears that it is cut, and does not take what there is for all.
    let mut last = Ok(());
    while let Some(piece) = body.frame().await {
        last = piece.map(drop);
    }
    assert_eq!(last.expect_err("cut").code(), Code::DeadlineExceeded);
}

fn request(
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Infallible>>,
) -> StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>> {
    StreamBody::new(ReceiverStream::new(pieces))
}

fn code(error: StdError) -> Code {
    error.downcast::<Status>().expect("a status").code()
}

#[tokio::test]
async fn requests_that_are_not_whole_have_so_much_room_together() {
    let requests = Requests::new(Crowd::default());
    let mib = || Ok(Frame::data(Bytes::from(vec![0; 1 << 20])));
    let mut under_way = Vec::new();
    let refused = loop {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(mib()).await.expect("a place");
        let mut body = requests.weigh(request(receiver));
        match body.frame().await.expect("a frame") {
            Ok(_) => under_way.push((sender, body)),
            Err(error) => break error,
        }
    };
    assert_eq!(code(refused), Code::ResourceExhausted);
    assert!(
        (256..=262).contains(&under_way.len()),
        "{}",
        under_way.len()
    );
    // One that comes no further gives its room back.
    let (_sender, mut stalled) = under_way.pop().expect("many");
    let begin = Instant::now();
    let error = stalled.frame().await.expect("an end").expect_err("late");
    assert_eq!(code(error), Code::DeadlineExceeded);
    assert!(begin.elapsed() >= STALL_TIME / 2, "{:?}", begin.elapsed());
    drop(stalled);
    let (sender, receiver) = mpsc::channel(1);
    sender.send(mib()).await.expect("a place");
    assert!(
        requests
            .weigh(request(receiver))
            .frame()
            .await
            .expect("a frame")
            .is_ok()
    );
}

#[tokio::test]
async fn a_request_that_trickles_is_given_up_like_one_that_stands_still() {
    let requests = Requests::new(Crowd::default());
    let (sender, receiver) = mpsc::channel(1);
    let trickle = tokio::spawn(async move {
        let mut data = vec![0; SMALL_BYTES];
        while sender.send(Ok(Frame::data(data.into()))).await.is_ok() {
            tokio::time::sleep(STALL_TIME / 10).await;
            data = vec![0];
        }
    });
    let mut body = requests.weigh(request(receiver));
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = body.frame().await.expect("it goes on") {
            break error;
        }
    };
    assert_eq!(code(error), Code::DeadlineExceeded);
    assert!(begin.elapsed() < 3 * STALL_TIME, "{:?}", begin.elapsed());
    drop(body);
    trickle.await.expect("no panic");
}

#[tokio::test]
async fn even_a_little_of_a_request_is_not_waited_for_for_ever() {
    let requests = Requests::new(Crowd::default());
    for bytes in [1, SMALL_BYTES] {
        let (sender, receiver) = mpsc::channel(1);
        let data = Bytes::from(vec![0; bytes]);
        sender.send(Ok(Frame::data(data))).await.expect("a place");
        let mut body = requests.weigh(request(receiver));
        assert!(body.frame().await.expect("a frame").is_ok());
        let stalled = timeout(3 * STALL_TIME, body.frame()).await;
        let error = stalled.expect("it ends").expect("an error");
        assert_eq!(code(error.expect_err("late")), Code::DeadlineExceeded);
    }
    // Where nothing has come, nothing need come, unless there is a crowd.
    let crowd = Crowd::default();
    let requests = Requests::new(crowd.clone());
    let (_sender, receiver) = mpsc::channel(1);
    let mut body = requests.weigh(request(receiver));
    assert!(timeout(2 * STALL_TIME, body.frame()).await.is_err());
    let mut inside = Vec::new();
    while !crowd.is_dense() {
        inside.push(crowd.enter().expect("a place"));
    }
    let error = body.frame().await.expect("an end").expect_err("late");
    assert_eq!(code(error), Code::DeadlineExceeded);
}

#[tokio::test]
async fn messages_of_streams_that_are_not_whole_have_so_much_room_together() {
    let requests = Requests::new(Crowd::default());
    let half = || {
        let mut half = vec![0, 0, 0x20, 0, 0];
        half.resize(1 << 20, 7);
        Ok(Frame::data(Bytes::from(half)))
    };
    let mut under_way = Vec::new();
    let refused = loop {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(half()).await.expect("a place");
        let mut body = requests.weigh_each(request(receiver));
        match body.frame().await.expect("a frame") {
            Ok(_) => under_way.push((sender, body)),
            Err(error) => break error,
        }
    };
    assert_eq!(code(refused), Code::ResourceExhausted);
    assert!((256..=262).contains(&under_way.len()));
    // One that comes no further is given up; one that is whole has no room, and may be silent.
    let (sender, mut whole) = under_way.pop().expect("many");
    let rest = vec![7; (2 << 20) + 5 - (1 << 20)];
    sender
        .send(Ok(Frame::data(rest.into())))
        .await
        .expect("sent");
    assert!(whole.frame().await.expect("a frame").is_ok());
    let (_sender, mut stalled) = under_way.pop().expect("many");
    let error = stalled.frame().await.expect("an end").expect_err("late");
    assert_eq!(code(error), Code::DeadlineExceeded);
    assert!(timeout(2 * STALL_TIME, whole.frame()).await.is_err());
}

#[tokio::test]
async fn a_reader_that_takes_its_time_makes_no_request_late() {
    let requests = Requests::new(Crowd::default());
    let (sender, receiver) = mpsc::channel(1);
    let mut body = requests.weigh_left(request(receiver));
    let piece = || Ok(Frame::data(Bytes::from_static(b"{")));
    for _ in 0..3 {
        let late = tokio::spawn({
            let sender = sender.clone();
            async move {
                tokio::time::sleep(STALL_TIME / 10).await;
                sender.send(piece()).await
            }
        });
        assert!(body.frame().await.expect("a frame").is_ok());
        late.await.expect("no panic").expect("sent");
        tokio::time::sleep(STALL_TIME).await;
    }
    body.leave(0);
    assert!(timeout(2 * STALL_TIME, body.frame()).await.is_err());
}

#[tokio::test]
async fn in_a_crowd_small_answers_need_room_and_must_be_taken() {
    let answers = Answers::new(PATIENCE);
    let mut inside = Vec::new();
    while !answers.crowd().is_dense() {
        inside.push(answers.crowd().enter().expect("a place"));
    }
    let mut fitted = Vec::new();
    for _ in 0..ANSWERS_BYTES_MAX / (8 << 10) {
        match answers.fit(answer(8 << 10)).await {
            Ok(response) => fitted.push(response),
            Err(_) => break,
        }
    }
    let refused = answers.fit(answer(8 << 10)).await;
    assert_eq!(refused.expect_err("no room"), Failure::Busy);
    assert!(answers.fit(answer(100)).await.is_ok());
    inside.clear();
    assert!(answers.fit(answer(8 << 10)).await.is_ok());
    // One without room is cut like any other if it is not taken.
    let body = Body::new(Full::new(Bytes::from(vec![0; 2 * PIECE_BYTES])));
    let mut body = held(Response::new(body), Crowd::default().enter().ok()).into_body();
    tokio::time::sleep(2 * STALL_TIME).await;
    assert!(body.frame().await.expect("a piece").is_ok());
    let cut = body.frame().await.expect("an end").expect_err("cut");
    assert_eq!(cut.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn room_is_given_back_in_part_and_the_rest_when_the_bytes_are_taken() {
    let answers = Answers::new(PATIENCE);
    let all = || answers.room(ANSWERS_BYTES_MAX);
    let mut room = answers
        .room(3 * ANSWERS_BYTES_MAX)
        .await
        .expect("all of it");
    assert!(answers.room(1).await.is_err());
    room.keep(1 << 20);
    assert!(answers.room(ANSWERS_BYTES_MAX - (1 << 20)).await.is_ok());
    assert!(all().await.is_err());
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let body = held_bytes(bytes.clone(), room);
    assert_eq!(body.collect().await.expect("all").to_bytes(), bytes);
    assert!(all().await.is_ok());
}

#[tokio::test]
async fn a_stream_has_room_until_it_ends_or_its_client_takes_too_little() {
    let answers = Answers::new(STALL_TIME / 4);
    let fitted = answers.fit_stream((), ANSWERS_BYTES_MAX).await;
    let (_, (), extensions) = fitted.expect("room").into_parts();
    let (sender, receiver) = mpsc::channel::<Piece>(1);
    let mut response = Response::new(Body::new(StreamBody::new(ReceiverStream::new(receiver))));
    *response.extensions_mut() = extensions;
    let mut body = held(response, None).into_body();
    let chunk = || Ok(Frame::data(Bytes::from(vec![0; PIECE_BYTES])));
    // A server that has nothing to say for a while keeps no client from being in time.
    for _ in 0..3 {
        tokio::time::sleep(STALL_TIME / 2).await;
        sender.send(chunk()).await.expect("it goes on");
        body.frame().await.expect("a piece").expect("no error");
    }
    assert!(answers.fit(answer(1 << 20)).await.is_err());
    while sender.send(chunk()).await.is_ok() {}
    assert!(answers.fit(answer(1 << 20)).await.is_ok());
}

#[tokio::test]
async fn a_range_in_pieces_is_the_message_that_it_would_be_at_once() {
    let answers = Answers::new(PATIENCE);
    let mut range = answer(100_000);
    let small = KeyValue {
        key: "k".into(),
        value: "v".into(),
        lease: 7,
        ..KeyValue::default()
    };
    range.kvs.extend(vec![small; 1000]);
    range.header = Some(ResponseHeader {
        revision: 9,
        ..ResponseHeader::default()
    });
    (range.more, range.count) = (true, 5000);
    let fitted = answers.fit_range(range.clone()).await.expect("room");
    let (_, _, extensions) = fitted.into_parts();
    let mut response = Response::new(Body::empty());
    *response.extensions_mut() = extensions;
    let whole = held(response, None)
        .into_body()
        .collect()
        .await
        .expect("no error");
    let trailers = whole.trailers().expect("trailers");
    assert_eq!(trailers.get("grpc-status").expect("a status"), "0");
    let bytes = whole.to_bytes();
    assert_eq!(
        bytes[..5],
        [&[0][..], &(bytes.len() as u32 - 5).to_be_bytes()].concat()
    );
    assert_eq!(
        RangeResponse::decode(&bytes[5..]).expect("a message"),
        range
    );
}

#[tokio::test]
async fn an_answer_beyond_any_is_refused_by_its_size() {
    let answers = Answers::new(PATIENCE);
    let mut range = answer(1 << 20);
    // All of them are the same bytes.
    range.kvs = vec![range.kvs[0].clone(); 1025];
    let refused = answers.fit_range(range).await.expect_err("too large");
    let (code, text) = refused.code_and_text();
    assert_eq!(code as u8, 8);
    assert!(text.contains("RangeStream"), "{text}");
}
