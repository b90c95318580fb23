//! Batches as vLLM writes them, and as nobody does.

use proptest::prelude::*;
use rmp::encode;

use super::*;

/// JSON's shapes are enough to say what vLLM writes.
enum Say<'a> {
    Nil,
    Int(u64),
    Negative(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(Vec<Say<'a>>),
    Map(Vec<(&'a str, Say<'a>)>),
}
use Say::{Bytes, Float, Int, List, Map, Negative, Nil, Text};

fn write(bytes: &mut Vec<u8>, said: &Say<'_>) {
    match said {
        Nil => encode::write_nil(bytes).unwrap(),
        Int(number) => drop(encode::write_uint(bytes, *number).unwrap()),
        Negative(number) => drop(encode::write_sint(bytes, *number).unwrap()),
        Float(number) => encode::write_f64(bytes, *number).unwrap(),
        Text(text) => encode::write_str(bytes, text).unwrap(),
        Bytes(content) => encode::write_bin(bytes, content).unwrap(),
        List(values) => {
            encode::write_array_len(bytes, u32::try_from(values.len()).unwrap()).unwrap();
            values.iter().for_each(|value| write(bytes, value));
        }
        Map(values) => {
            encode::write_map_len(bytes, u32::try_from(values.len()).unwrap()).unwrap();
            for (key, value) in values {
                encode::write_str(bytes, key).unwrap();
                write(bytes, value);
            }
        }
    }
}

fn bytes_of(said: &Say<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, said);
    bytes
}

fn decode(said: &Say<'_>) -> Result<Batch, DecodeError> {
    Batch::decode(&bytes_of(said))
}

fn ints(numbers: &[u64]) -> Say<'static> {
    List(numbers.iter().map(|number| Int(*number)).collect())
}

fn batch(events: Vec<Say<'_>>) -> Say<'_> {
    List(vec![Float(1.5), List(events), Int(0)])
}

fn two_stored() -> KvEvent {
    let blocks = vec![KvBlock(11), KvBlock(12)];
    KvEvent::Stored { blocks, parent: Some(KvBlock(10)), tokens: vec![1, 2, 3, 4], block_size: 2 }
}

fn stored_list<'a>(after: Vec<Say<'a>>) -> Say<'a> {
    let tokens = ints(&[1, 2, 3, 4]);
    let mut list = vec![Text("BlockStored"), ints(&[11, 12]), Int(10), tokens, Int(2)];
    list.extend(after);
    List(list)
}

#[test]
fn events_as_lists_are_read() {
    let stored = stored_list(vec![Nil]);
    let removed = List(vec![Text("BlockRemoved"), ints(&[11])]);
    let cleared = List(vec![Text("AllBlocksCleared")]);
    let read = decode(&batch(vec![stored, removed, cleared])).unwrap();
    assert_eq!((read.at, read.rank, read.unknown), (1.5, Some(0), 0));
    let removed = KvEvent::Removed { blocks: vec![KvBlock(11)] };
    let told: Vec<_> = read.events.into_iter().map(|told| (told.event, told.plain)).collect();
    assert_eq!(told, [(two_stored(), true), (removed, true), (KvEvent::Cleared, true)]);
}

#[test]
fn events_as_maps_are_read() {
    let stored = Map(vec![
        ("type", Text("BlockStored")),
        ("block_hashes", ints(&[11, 12])),
        ("parent_block_hash", Int(10)),
        ("token_ids", ints(&[1, 2, 3, 4])),
        ("block_size", Int(2)),
        ("lora_id", Nil),
        ("medium", Text("GPU")),
        ("lora_name", Nil),
        ("extra_keys", List(vec![Nil, Nil])),
        ("group_idx", Int(0)),
        ("kv_cache_spec_kind", Text("full_attention")),
    ]);
    let events = List(vec![stored, Map(vec![("type", Text("AllBlocksCleared"))])]);
    // The batch as well: a form that vLLM had for a while. What has its default is left out.
    let read = decode(&Map(vec![("ts", Float(2.0)), ("events", events)])).unwrap();
    assert_eq!(read.rank, None);
    assert_eq!(read.events[0], Told { event: two_stored(), plain: true });
    assert_eq!(read.events[1].event, KvEvent::Cleared);
}

#[test]
fn fields_and_events_of_a_newer_version_are_passed() {
    let newer = Map(vec![("x", List(vec![Int(1), Map(vec![])]))]);
    let mut after: Vec<_> = (0..6).map(|_| Nil).collect();
    after.extend([Int(128), newer]);
    let moved = List(vec![Text("BlockMoved"), Int(3), List(vec![List(vec![])])]);
    let events = List(vec![moved, stored_list(after)]);
    let read = decode(&List(vec![Float(1.0), events, Nil, Text("more")])).unwrap();
    assert_eq!(read.unknown, 1);
    assert_eq!(read.events, [Told { event: two_stored(), plain: true }]);
}

#[test]
fn a_name_may_be_signed_or_bytes() {
    let hash = [99, 99, 0xff, 0, 0, 0, 0, 0, 0, 1];
    let removed =
        List(vec![Text("BlockRemoved"), List(vec![Bytes(&hash), Negative(-2), Int(u64::MAX)])]);
    let read = decode(&batch(vec![removed])).unwrap();
    let names = [0xff00_0000_0000_0001, u64::MAX - 1, u64::MAX].map(KvBlock);
    assert_eq!(read.events[0].event, KvEvent::Removed { blocks: names.to_vec() });
}

#[test]
fn what_tokens_alone_do_not_make_is_not_plain() {
    let plain = |after| decode(&batch(vec![stored_list(after)])).unwrap().events[0].plain;
    assert!(plain(vec![Nil, Text("GPU"), Nil, Nil, Nil, Nil]));
    assert!(!plain(vec![Int(1)]), "an adapter by its number");
    assert!(!plain(vec![Nil, Text("CPU")]), "offloaded");
    assert!(!plain(vec![Nil, Nil, Text("a")]), "an adapter by its name");
    assert!(!plain(vec![Nil, Nil, Nil, List(vec![Nil, List(vec![Text("salt")])])]));
    assert!(!plain(vec![Nil, Nil, Nil, Nil, Int(1)]), "another group of layers");
    assert!(!plain(vec![Nil, Nil, Nil, Nil, Int(0), Text("sliding_window")]));
}

#[test]
fn blocks_that_do_not_hold_the_tokens_are_not_plain() {
    let stored = List(vec![Text("BlockStored"), ints(&[11]), Nil, ints(&[1, 2, 3, 4]), Int(2)]);
    assert!(!decode(&batch(vec![stored])).unwrap().events[0].plain);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let error = |said| decode(&said).unwrap_err();
    let no_size = List(vec![Text("BlockStored"), ints(&[1]), Nil, ints(&[1])]);
    assert_eq!(error(batch(vec![no_size])), DecodeError::Field("block_size"));
    let none = List(vec![Text("BlockStored"), ints(&[1]), Nil, ints(&[1]), Int(0)]);
    assert_eq!(error(batch(vec![none])), DecodeError::Field("block_size"));
    let large = List(vec![Text("BlockStored"), ints(&[1]), Nil, ints(&[1 << 32]), Int(1)]);
    assert_eq!(error(batch(vec![large])), DecodeError::Field("token_ids"));
    let short = List(vec![Text("BlockRemoved"), List(vec![Bytes(&[1, 2])])]);
    assert_eq!(error(batch(vec![short])), DecodeError::Field("block_hashes"));
    assert_eq!(error(batch(vec![List(vec![])])), DecodeError::Field("type"));
    assert_eq!(error(batch(vec![Int(1)])), DecodeError::Field("type"));
    assert_eq!(error(Text("hello")), DecodeError::Field("ts"));
    let many = (0..=MAX_EVENTS).map(|_| Nil).collect();
    let limit = MAX_EVENTS as u64;
    assert_eq!(error(batch(many)), DecodeError::TooMany { what: "events", limit });
}

#[test]
fn a_batch_that_is_cut_off_anywhere_is_an_error() {
    let bytes = bytes_of(&batch(vec![stored_list(vec![Nil]), stored_list(vec![])]));
    assert!(Batch::decode(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert!(Batch::decode(&bytes[..end]).is_err(), "cut off at {end}");
    }
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _read = Batch::decode(&bytes);
    }

    #[test]
    fn a_batch_with_a_changed_byte_does_no_harm(at in 0usize..64, byte in any::<u8>()) {
        let mut bytes = bytes_of(&batch(vec![stored_list(vec![Nil, Text("GPU"), Nil])]));
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Batch::decode(&bytes) {
            prop_assert!(read.events.len() + read.unknown as usize <= bytes.len());
        }
    }
}
