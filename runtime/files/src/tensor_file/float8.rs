//! Floats of eight bits as f32 (Micikevicius et al. 2022, arXiv:2209.05433), which PyTorch calls
//! `float8_e4m3fn` and `float8_e5m2`.

use half::f16;

/// A value of four bits of exponent and three of fraction: without infinities, the largest is 448.
pub(super) fn from_e4m3(bits: u8) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 0xf), f32::from(bits & 0x7) / 8.0);
    let size = match (exponent, bits & 0x7) {
        (0xf, 0x7) => f32::NAN,
        (0, _) => fraction * 2f32.powi(-6),
        _ => (1.0 + fraction) * 2f32.powi(exponent - 7),
    };
    if bits >> 7 == 0 { size } else { -size }
}

/// A value of five bits of exponent and two of fraction: the upper half of an f16.
pub(super) fn from_e5m2(bits: u8) -> f32 {
    f16::from_bits(u16::from(bits) << 8).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_paper() {
        let e4m3 = [(0x00, 0.0), (0x01, 2f32.powi(-9)), (0x07, 0.875 * 2f32.powi(-6)), (0x08, 2f32.powi(-6))];
        for (bits, value) in e4m3.into_iter().chain([(0x38, 1.0), (0x7e, 448.0), (0x3c, 1.5), (0x40, 2.0)]) {
            assert_eq!((from_e4m3(bits), from_e4m3(bits | 0x80)), (value, -value), "{bits:#x}");
        }
        assert!(from_e4m3(0x7f).is_nan() && from_e4m3(0xff).is_nan());
        let e5m2 = [(0x00, 0.0), (0x01, 2f32.powi(-16)), (0x04, 2f32.powi(-14)), (0x3c, 1.0), (0x7b, 57344.0)];
        for (bits, value) in e5m2.into_iter().chain([(0x7c, f32::INFINITY), (0x3d, 1.25)]) {
            assert_eq!((from_e5m2(bits), from_e5m2(bits | 0x80)), (value, -value), "{bits:#x}");
        }
        assert!(from_e5m2(0x7d).is_nan());
    }

    #[test]
    fn values_grow_with_their_bits() {
        for of in [from_e4m3, from_e5m2] {
            let values: Vec<f32> = (0..=0x7f).map(of).filter(|value| value.is_finite()).collect();
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
