//! Mutations of a seed, of the kinds that libFuzzer makes, but the same ones every time.

use crate::evaluation::Random;

/// Numbers that programs get wrong, in decimal; as binary numbers, whatever fits.
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "2",
    "3",
    "127",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999",
];

/// `seed` with one to four changes; `other` is a seed to take pieces from.
pub fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, other, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    // Up to 32 bytes from there.
    let end = (at + random.below(32)).min(bytes.len());
    match random.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.bits() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        5 => {
            let from = random.below(other.len() + 1);
            let piece = &other[from..(from + random.below(64)).min(other.len())];
            bytes.splice(at..end, piece.iter().copied());
        }
        6 => drop(bytes.splice(at..at, (0..random.below(9)).map(|_| random.0 as u8).collect::<Vec<_>>())),
        7 => overwrite(bytes, at, random),
        _ => replace_number(bytes, at, random),
    }
}

/// Puts a binary number of one to eight bytes over what is at `at`.
fn overwrite(bytes: &mut [u8], at: usize, random: &mut Random) {
    let number = NUMBERS[random.below(NUMBERS.len())].parse::<u64>().unwrap_or(u64::MAX - 7);
    let width = 1 << random.below(4);
    let number = match random.below(2) {
        0 => number.to_le_bytes()[..width].to_vec(),
        _ => number.to_be_bytes()[8 - width..].to_vec(),
    };
    let place = bytes.iter_mut().skip(at);
    place.zip(number).for_each(|(byte, new)| *byte = new);
}

/// Puts another decimal number in the place of the first one behind `at`.
fn replace_number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) else { return };
    let end = (start..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
    bytes.splice(start..end, NUMBERS[random.below(NUMBERS.len())].bytes());
}
