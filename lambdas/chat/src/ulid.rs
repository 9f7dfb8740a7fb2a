//! ULIDs: 26 characters that are unique and sort by the time they were made.
//!
//! 48 bits of milliseconds and 80 random ones in Crockford's base 32, after <https://github.com/ulid/spec>.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The length of every ULID, in characters and bytes.
pub const LENGTH: usize = 26;

/// A new one, made at `now_ms` (milliseconds since 1970).
pub fn ulid(now_ms: i64) -> String {
    let time = u128::from(now_ms.unsigned_abs() & 0xFFFF_FFFF_FFFF);
    let random = rand::random::<u128>() >> 48;
    let value = time << 80 | random;
    (0..LENGTH)
        .rev()
        .map(|place| char::from(ALPHABET[(value >> (5 * place) & 31) as usize]))
        .collect()
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
    }
}
