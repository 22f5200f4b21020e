use tokio::io::AsyncReadExt;

use super::*;

/// Huffman's code of the characters that occur here (RFC 7541, appendix B).
fn code(text: &str) -> Vec<u8> {
    let of = |character| match character {
        '0' => "00000",
        '1' => "00001",
        '2' => "00010",
        '7' => "011101",
        '9' => "011111",
        '[' => "1111111111011",
        ']' => "1111111111100",
        'a' => "00011",
        't' => "01001",
        'h' => "100111",
        'p' => "101011",
        '.' => "010111",
        '/' => "011000",
        ':' => "1011100",
        'X' => "11111100",
        other => panic!("no code for {other}"),
    };
    let mut bits: String = text.chars().map(of).collect();
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let bytes = bits.as_bytes().chunks(8);
    let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    bytes.map(byte).collect()
}

fn string(bytes: &[u8], is_coded: bool) -> Vec<u8> {
    let mark = if is_coded { 0x80 } else { 0 };
    let mut encoded = if bytes.len() < 0x7f {
        vec![bytes.len() as u8 | mark]
    } else {
        vec![0x7f | mark, (bytes.len() - 0x7f) as u8]
    };
    encoded.extend_from_slice(bytes);
    encoded
}

/// `:method POST`, `:path` in full, a field with its own name, `:authority` in each of the ways,
/// and something after it.
fn block(authority: &[u8], way: u8) -> Vec<u8> {
    let mut block = vec![0x3f, 0xe1, 0x1f, 0x83, 0x44];
    block.extend(string(b"/etcdserverpb.Maintenance/Status", false));
    block.push(0x40);
    block.extend(string(b"own-name", false));
    block.extend(string(b"http://kept", false));
    block.push(way);
    block.extend_from_slice(authority);
    block.extend([0x86, 0x5f]);
    block.extend(string(b"application/grpc", false));
    block
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 1]);
    frame.extend_from_slice(payload);
    frame
}

/// What comes out when `bytes` arrive in pieces of `piece_bytes`.
fn through(bytes: &[u8], piece_bytes: usize) -> Vec<u8> {
    struct Pieces<'a>(&'a [u8], usize);
    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let length = self.1.min(self.0.len()).min(out.remaining());
            let (piece, rest) = self.0.split_at(length);
            out.put_slice(piece);
            self.0 = rest;
            Poll::Ready(Ok(()))
        }
    }
    let mut mended = Mended::new(Pieces(bytes, piece_bytes));
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime
        .unwrap()
        .block_on(mended.read_to_end(&mut out))
        .unwrap();
    out
}

/// A connection whose first two requests have these headers.
fn connection(first: &[u8], second: &[u8]) -> Vec<u8> {
    let settings = frame(4, 0, &[0, 3, 0, 0, 0, 100]);
    let window = frame(8, 0, &[0, 0, 1, 0]);
    let data = frame(0, 1, b"http://");
    [PREFACE, &settings, &window, first, &data, second].concat()
}

#[test]
fn a_scheme_in_the_first_authority_is_taken_away() {
    for host in [
        "1",
        "a.t:0",
        "127.0.0.1:22100",
        "a:9",
        "a:19",
        "a:129",
        "a:1129",
        "[::1]:9",
        "aX",
    ] {
        let url = format!("http://{host}");
        for way in [0x41, 0x01, 0x11] {
            for is_coded in [false, true] {
                let sent = if is_coded {
                    code(&url)
                } else {
                    url.as_bytes().to_vec()
                };
                let headers = |value: &[u8]| frame(1, 4, &block(value, way));
                let wrong = headers(&string(&sent, is_coded));
                let right = headers(&string(host.as_bytes(), false));
                let sent = connection(&wrong, &wrong);
                // Only the first block is looked at; a client would not repeat the field.
                let expected = connection(&right, &wrong);
                for piece_bytes in [1, 7, 1000] {
                    let got = through(&sent, piece_bytes);
                    assert_eq!(got, expected, "{url}, coded {is_coded}, way {way}");
                }
            }
        }
    }
}

/// The examples of RFC 7541, appendix C.
#[test]
fn the_code_is_that_of_the_standard() {
    let cases: [(&str, &[u8]); 4] = [
        (
            "www.example.com",
            &[
                0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
            ],
        ),
        ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
        (
            "custom-value",
            &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
        ),
        (
            "Mon, 21 Oct 2013 20:13:21 GMT",
            &[
                0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
                0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
            ],
        ),
    ];
    for (text, coded) in cases {
        assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
        let too_long = [coded, &[0xff]].concat();
        assert_eq!(decode(&too_long), None, "a byte of padding");
    }
    // No code is left out between the first of one length and the first of the next.
    for pair in CODE.windows(2) {
        let [(bits, first, all), (next_bits, next, _)] = pair else {
            panic!("windows of two");
        };
        assert_eq!((first + all.len()) << (next_bits - bits), *next);
    }
}

#[test]
fn padding_and_priority_are_stepped_over() {
    let with = |authority: &str| {
        let mut payload = vec![3, 0, 0, 0, 0, 16];
        payload.extend(block(&string(authority.as_bytes(), false), 0x41));
        payload.extend([0, 0, 0]);
        connection(&frame(1, 4 | FLAG_PADDED | FLAG_PRIORITY, &payload), b"")
    };
    assert_eq!(through(&with("http://a:1"), 10), with("a:1"));
}

#[test]
fn everything_else_goes_through_as_it_is() {
    let with = |first: &[u8]| connection(first, b"");
    let headers = |text: &str| frame(1, 4, &block(&string(text.as_bytes(), false), 0x41));
    let long = format!("http://{}", "a".repeat(200));
    let mut cases = vec![
        b"GET / HTTP/1.1\r\nhost: http://x\r\n\r\n".to_vec(),
        b"POST".to_vec(),
        b"PRI * HTTP/2".to_vec(),
        Vec::new(),
        with(&headers("127.0.0.1:2379")),
        with(&headers("https://127.0.0.1:2379")),
        with(&headers(&long)),
        with(&frame(1, 4, &[])),
        with(&frame(1, 4 | FLAG_PADDED, &[200, 1])),
        with(&frame(1, 4, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff])),
        with(&frame(5, 4, &vec![0; FRAME_BYTES_MAX + 1])),
    ];
    let cut = connection(&headers("http://a:1"), b"");
    let first = PREFACE.len() + 9 + 6 + 9 + 4;
    cases.extend((1..30).map(|more| cut[..first + more].to_vec()));
    for case in cases {
        for piece_bytes in [1, 11, 1000] {
            assert_eq!(through(&case, piece_bytes), case);
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for _ in 0..20_000 {
        let length = random() % 60;
        let payload: Vec<u8> = (0..length).map(|_| random()).collect();
        let headers = frame(1, random(), &payload);
        if let Some(mended) = mend_frame(&headers) {
            assert!(
                mended.len() < headers.len() + 0x7f,
                "what was coded may take more space"
            );
        }
    }
    let mut whole = frame(
        1,
        4,
        &block(&string(&code("http://127.0.0.1:2"), true), 0x41),
    );
    for at in 3..whole.len() {
        for value in 0..=255 {
            let kept = std::mem::replace(&mut whole[at], value);
            mend_frame(&whole);
            whole[at] = kept;
        }
    }
}
