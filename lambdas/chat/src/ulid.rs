//! ULIDs: 26 characters that are unique and sort by their time.
//!
//! 48 bits of milliseconds and 80 random ones in Crockford's base 32, after <https://github.com/ulid/spec>.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The length of every ULID, in characters and bytes.
pub const LENGTH: usize = 26;

/// A new ULID, made at `now_ms` (milliseconds since 1970).
pub fn ulid(now_ms: i64) -> String {
    let time = u128::from(now_ms.unsigned_abs() & 0xFFFF_FFFF_FFFF);
    let random = rand::random::<u128>() >> 48;
    let value = time << 80 | random;
    (0..LENGTH)
        .rev()
        .map(|place| char::from(ALPHABET[(value >> (5 * place) & 31) as usize]))
        .collect()
}

/// The time a ULID was made at, in milliseconds since 1970; none for a text that is not a ULID.
pub fn made_at_ms(ulid: &str) -> Option<i64> {
    if ulid.len() != LENGTH {
        return None;
    }
    // Ten characters of five bits hold the 48 bits of time.
    ulid.bytes().take(10).try_fold(0, |time, c| {
        let digit = ALPHABET.iter().position(|&known| known == c)?;
        Some(time << 5 | i64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_sort_by_time_and_differ() {
        // The specification's own example of a time.
        assert!(ulid(1_469_918_176_385).starts_with("01ARYZ6S41"));
        assert_eq!(ulid(0).len(), LENGTH);
        assert!(ulid(1_000) < ulid(1_001));
        assert_ne!(ulid(5), ulid(5));
        assert_eq!(
            made_at_ms(&ulid(1_469_918_176_385)),
            Some(1_469_918_176_385)
        );
        for text in ["", "E", "01ARYZ6S41", "01ARYZ6S4!0000000000000000"] {
            assert_eq!(made_at_ms(text), None, "{text}");
        }
    }
}
