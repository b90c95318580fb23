//! Values of msgpack, one after the other, out of a slice.
//!
//! Nothing is built of what is not asked for, and nothing recurses: neither depth nor a length that lies costs memory. A list cannot
//! claim more elements than there are bytes left.

use rmp::Marker;

/// The bytes end within a value, or are no msgpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One value; of lists and maps the beginning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Nil,
    Bool,
    Unsigned(u64),
    /// Negative.
    Signed(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many keys and values follow.
    Map(usize),
    /// An extension type.
    Extension,
}

/// Where we are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let [marker] = self.fixed()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Value::Nil,
            Marker::False | Marker::True => Value::Bool,
            Marker::FixPos(n) => Value::Unsigned(n.into()),
            Marker::FixNeg(n) => Value::Signed(n.into()),
            Marker::U8 => Value::Unsigned(self.unsigned(1)?),
            Marker::U16 => Value::Unsigned(self.unsigned(2)?),
            Marker::U32 => Value::Unsigned(self.unsigned(4)?),
            Marker::U64 => Value::Unsigned(self.unsigned(8)?),
            Marker::I8 => signed(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.fixed()?).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.fixed()?)),
            Marker::FixStr(len) => Value::Text(self.take(len.into())?),
            Marker::Str8 => Value::Text(self.sized(1)?),
            Marker::Str16 => Value::Text(self.sized(2)?),
            Marker::Str32 => Value::Text(self.sized(4)?),
            Marker::Bin8 => Value::Bytes(self.sized(1)?),
            Marker::Bin16 => Value::Bytes(self.sized(2)?),
            Marker::Bin32 => Value::Bytes(self.sized(4)?),
            Marker::FixArray(len) => Value::Array(self.claimed(len.into(), 1)?),
            Marker::Array16 => {
                self.unsigned(2).and_then(|n| self.claimed(n, 1)).map(Value::Array)?
            }
            Marker::Array32 => {
                self.unsigned(4).and_then(|n| self.claimed(n, 1)).map(Value::Array)?
            }
            Marker::FixMap(len) => Value::Map(self.claimed(len.into(), 2)?),
            Marker::Map16 => self.unsigned(2).and_then(|n| self.claimed(n, 2)).map(Value::Map)?,
            Marker::Map32 => self.unsigned(4).and_then(|n| self.claimed(n, 2)).map(Value::Map)?,
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.unsigned(1).and_then(|n| self.extension(n))?,
            Marker::Ext16 => self.unsigned(2).and_then(|n| self.extension(n))?,
            Marker::Ext32 => self.unsigned(4).and_then(|n| self.extension(n))?,
            Marker::Reserved => return Err(Malformed),
        })
    }

    /// Passes the next value and all within it.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        // Each turn takes a byte at least, and no list claims more than there are: it ends, and the sum fits.
        let mut left: u64 = 1;
        while left > 0 {
            left -= 1;
            left += match self.value()? {
                Value::Array(len) => len as u64,
                Value::Map(len) => 2 * len as u64,
                _ => 0,
            };
        }
        Ok(())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_too_long| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn unsigned(&mut self, len: u64) -> Result<u64, Malformed> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn sized(&mut self, size: u64) -> Result<&'a [u8], Malformed> {
        let len = self.unsigned(size)?;
        self.take(len)
    }

    /// A count of elements of `least` values each, as long as they can be there.
    fn claimed(&self, count: u64, least: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(count).map_err(|_too_many| Malformed)?;
        if count > self.rest.len() / least { Err(Malformed) } else { Ok(count) }
    }

    fn extension(&mut self, len: u64) -> Result<Value<'a>, Malformed> {
        self.take(1)?;
        self.take(len)?;
        Ok(Value::Extension)
    }
}

/// Writers may use a signed format for a number that is not negative.
fn signed(number: i64) -> Value<'static> {
    u64::try_from(number).map_or(Value::Signed(number), Value::Unsigned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmp::encode;

    use super::*;

    #[test]
    fn numbers_are_what_rmp_wrote() {
        for number in [0, 1, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            encode::write_uint(&mut bytes, number).unwrap();
            assert_eq!(Reader::new(&bytes).value(), Ok(Value::Unsigned(number)));
        }
        for number in [-1, -32, -33, -129, -32_769, i64::MIN] {
            let mut bytes = Vec::new();
            encode::write_sint(&mut bytes, number).unwrap();
            assert_eq!(Reader::new(&bytes).value(), Ok(Value::Signed(number)));
        }
    }

    #[test]
    fn a_number_in_a_signed_format_may_be_positive() {
        let mut bytes = Vec::new();
        encode::write_i64(&mut bytes, 7).unwrap();
        assert_eq!(Reader::new(&bytes).value(), Ok(Value::Unsigned(7)));
    }

    #[test]
    fn a_list_cannot_claim_what_is_not_there() {
        let mut bytes = Vec::new();
        encode::write_array_len(&mut bytes, u32::MAX).unwrap();
        bytes.extend([0xc0; 100]);
        assert_eq!(Reader::new(&bytes).value(), Err(Malformed));
    }

    #[test]
    fn a_million_lists_within_each_other_are_passed() {
        let mut bytes = vec![0x91; 1_000_000];
        bytes.extend([0xc0, 0x05]);
        let mut reader = Reader::new(&bytes);
        reader.skip().unwrap();
        assert_eq!(reader.value(), Ok(Value::Unsigned(5)));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while reader.skip().is_ok() {}
            let left = reader.rest.len();
            prop_assert!(left <= bytes.len());
        }
    }
}
