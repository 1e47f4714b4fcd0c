//! The bits of H.264's parameter sets, with and without emulation prevention (7.4.1).

/// The bits of a parameter set; a hundred or two.
pub(crate) struct Bits(pub(crate) Vec<bool>);

impl Bits {
    /// Of a NAL unit's bytes behind its first, without emulation prevention (7.4.1).
    pub(crate) fn of_escaped(bytes: &[u8]) -> Bits {
        let mut bits = Bits(Vec::with_capacity(bytes.len() * 8));
        let mut zeros = 0;
        for &byte in bytes {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bits.put(u32::from(byte), 8);
        }
        bits
    }

    pub(crate) fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    /// ue(v) of 9.1.
    pub(crate) fn put_exp_golomb(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.put(0, length);
        self.put(value + 1, length + 1);
    }

    /// As bytes, padded with zeros, with emulation prevention.
    pub(crate) fn escaped(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() / 8 + 4);
        let mut zeros = 0;
        for bits in self.0.chunks(8) {
            let byte = bits.iter().enumerate().fold(0, |byte, (i, &bit)| byte | u8::from(bit) << (7 - i));
            if zeros >= 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_survive_emulation_prevention() {
        let mut bits = Bits(Vec::new());
        bits.put(0, 16);
        bits.put(2, 8);
        bits.put_exp_golomb(0);
        bits.put_exp_golomb(16);
        assert_eq!(bits.escaped(), [0, 0, 3, 2, 0b1000_0100, 0b0100_0000]);
        assert_eq!(Bits::of_escaped(&bits.escaped()).0[..bits.0.len()], bits.0);
    }
}
