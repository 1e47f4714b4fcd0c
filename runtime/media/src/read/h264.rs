//! H.264 samples of an MP4 to planes, and what the stream says of their colours. The container is
//! [`super::mp4`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusty_h264::{DecodeError, Decoder, YuvFrame};
use shiguredo_mp4::bitstream::h264::{
    H264NalUnitType, LengthSize, length_prefixed_to_annexb, parse_length_prefixed_nal_units,
};
use shiguredo_mp4::boxes::AvccBox;

use super::rgb::{Chroma, Siting};
use crate::h264_bits::Bits;

/// Decodes one track's samples, in the order in which they are stored.
pub(super) struct SampleDecoder {
    decoder: Decoder,
    length: LengthSize,
    /// Annex-B of parameter sets that the next sample needs.
    sets: Vec<u8>,
}

/// Why a sample does not become a frame.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The stream may be good, the decoder cannot do it.
    Unsupported(String),
    /// The stream is damaged.
    Damaged(String),
}

impl SampleDecoder {
    /// A decoder for samples of `config`; fails with what is wrong.
    pub(super) fn new(config: &AvccBox) -> Result<SampleDecoder, Trouble> {
        let mut decoder = SampleDecoder { decoder: Decoder::new(), length: LengthSize::FourBytes, sets: vec![] };
        decoder.configure(config)?;
        Ok(decoder)
    }

    /// Takes another configuration, from the next sample on.
    pub(super) fn configure(&mut self, config: &AvccBox) -> Result<(), Trouble> {
        self.length = match config.length_size_minus_one.get() {
            0 => LengthSize::OneByte,
            1 => LengthSize::TwoBytes,
            3 => LengthSize::FourBytes,
            other => return Err(Trouble::Damaged(format!("NAL units behind lengths of {} bytes", other + 1))),
        };
        for set in config.sps_list.iter().chain(&config.pps_list) {
            self.sets.extend([0, 0, 0, 1]);
            self.sets.extend(set);
        }
        Ok(())
    }

    /// What the sequence parameter set says that comes with a sample.
    pub(super) fn signal(&self, sample: &[u8]) -> Result<Signal, Trouble> {
        let units = parse_length_prefixed_nal_units(sample, self.length)
            .map_err(|cause| Trouble::Damaged(cause.to_string()))?;
        let set = units.iter().find(|unit| unit.nal_unit_type == H264NalUnitType::Sps);
        Signal::read(set.ok_or_else(|| Trouble::Damaged("no sequence parameter set".into()))?.data)
    }

    /// Decodes one sample, a whole picture.
    pub(super) fn decode(&mut self, sample: &[u8]) -> Result<YuvFrame, Trouble> {
        let units =
            length_prefixed_to_annexb(sample, self.length).map_err(|cause| Trouble::Damaged(cause.to_string()))?;
        let mut stream = std::mem::take(&mut self.sets);
        stream.extend(units);
        // Both the decoder and what it is given are not ours: should it panic, another decoder may
        // do.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(&stream)));
        let frame = match decoded {
            Ok(Ok(frame)) => frame,
            Ok(Err(DecodeError::Unsupported(what))) => return Err(Trouble::Unsupported(what.into())),
            Ok(Err(cause)) => return Err(Trouble::Damaged(cause.to_string())),
            Err(_) => return Err(Trouble::Unsupported("it makes the decoder fail".into())),
        };
        let frame = frame.ok_or_else(|| Trouble::Damaged("no whole picture in it".into()))?;
        let (luma, chroma) = (frame.width * frame.height, frame.width / 2 * (frame.height / 2));
        if frame.y.len() != luma || frame.u.len() != chroma || frame.v.len() != chroma {
            return Err(Trouble::Unsupported(format!("planes of {}x{}", frame.width, frame.height)));
        }
        Ok(frame)
    }
}

/// What a sequence parameter set says about colours; `None` where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) full_range: Option<bool>,
    /// `matrix_coefficients` of ITU-T H.273.
    pub(super) matrix: Option<u8>,
    /// `chroma_sample_loc_type_top_field`.
    chroma: u32,
}

impl Signal {
    /// Reads the sequence parameter set `nal`, with its NAL header, up to the video usability
    /// information (ITU-T H.264 (08/2021), 7.3.2.1.1 and E.1.1).
    pub(super) fn read(nal: &[u8]) -> Result<Signal, Trouble> {
        let bits = Bits::of_escaped(nal.get(1..).unwrap_or_default());
        parse(&mut bits.0.iter().copied())
            .unwrap_or_else(|| Err(Trouble::Damaged("its sequence parameter set is cut off".into())))
    }

    /// Where chroma samples lie (H.264, figure E-1).
    pub(super) fn chroma(self) -> Chroma {
        let across = if matches!(self.chroma, 1 | 3 | 5) { Siting::Between } else { Siting::First };
        // Types 4 and 5, at the lower of two rows, are next to unused; they are taken for the ones
        // between.
        let down = if matches!(self.chroma, 2 | 3) { Siting::First } else { Siting::Between };
        Chroma { across, down }
    }
}

/// `None` if the bits end too soon.
fn parse(bits: &mut impl Iterator<Item = bool>) -> Option<Result<Signal, Trouble>> {
    let unsupported = |what: String| Some(Err(Trouble::Unsupported(what)));
    let profile = take(bits, 8)?;
    take(bits, 16)?; // constraint flags, level_idc
    exp_golomb(bits)?; // seq_parameter_set_id
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = exp_golomb(bits)?;
        if chroma == 3 {
            take(bits, 1)?; // separate_colour_plane_flag
        }
        let (luma_depth, chroma_depth) = (exp_golomb(bits)?, exp_golomb(bits)?);
        if luma_depth != 0 || chroma_depth != 0 {
            return unsupported(format!("{} bits a sample", luma_depth.max(chroma_depth).saturating_add(8)));
        }
        if chroma != 1 {
            let names = ["4:0:0", "4:2:0", "4:2:2", "4:4:4"];
            return unsupported(format!("{} chroma", names.get(chroma as usize).unwrap_or(&"unknown")));
        }
        take(bits, 1)?; // qpprime_y_zero_transform_bypass_flag
        if take(bits, 1)? == 1 {
            for size in [16, 16, 16, 16, 16, 16, 64, 64] {
                if take(bits, 1)? == 1 {
                    skip_scaling_list(bits, size)?;
                }
            }
        }
    }
    exp_golomb(bits)?; // log2_max_frame_num_minus4
    match exp_golomb(bits)? {
        0 => {
            exp_golomb(bits)?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            take(bits, 1)?; // delta_pic_order_always_zero_flag
            exp_golomb(bits)?; // offset_for_non_ref_pic
            exp_golomb(bits)?; // offset_for_top_to_bottom_field
            for _ in 0..exp_golomb(bits)? {
                exp_golomb(bits)?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    exp_golomb(bits)?; // max_num_ref_frames
    take(bits, 1)?; // gaps_in_frame_num_value_allowed_flag
    exp_golomb(bits)?; // pic_width_in_mbs_minus1
    exp_golomb(bits)?; // pic_height_in_map_units_minus1
    if take(bits, 1)? == 0 {
        take(bits, 1)?; // mb_adaptive_frame_field_flag
    }
    take(bits, 1)?; // direct_8x8_inference_flag
    if take(bits, 1)? == 1 {
        for _ in 0..4 {
            exp_golomb(bits)?; // frame_crop_*_offset
        }
    }

    let mut signal = Signal::default();
    if take(bits, 1)? == 0 {
        return Some(Ok(signal));
    }
    const EXTENDED_ASPECT: u32 = 255;
    if take(bits, 1)? == 1 && take(bits, 8)? == EXTENDED_ASPECT {
        take(bits, 32)?; // sar_width, sar_height
    }
    if take(bits, 1)? == 1 {
        take(bits, 1)?; // overscan_appropriate_flag
    }
    if take(bits, 1)? == 1 {
        take(bits, 3)?; // video_format
        signal.full_range = Some(take(bits, 1)? == 1);
        if take(bits, 1)? == 1 {
            take(bits, 16)?; // colour_primaries, transfer_characteristics
            signal.matrix = Some(take(bits, 8)? as u8);
        }
    }
    if take(bits, 1)? == 1 {
        signal.chroma = exp_golomb(bits)?;
    }
    Some(Ok(signal))
}

fn take(bits: &mut impl Iterator<Item = bool>, count: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(bits.next()?)))
}

/// ue(v) of 9.1; what is skipped as se(v) has the same length.
fn exp_golomb(bits: &mut impl Iterator<Item = bool>) -> Option<u32> {
    let mut zeros = 0;
    while !bits.next()? {
        zeros += 1;
    }
    if zeros > 31 {
        return None;
    }
    Some(((1u64 << zeros) + u64::from(take(bits, zeros)?) - 1) as u32)
}

/// `scaling_list` of 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut impl Iterator<Item = bool>, size: usize) -> Option<()> {
    let mut last = 8;
    for _ in 0..size {
        let code = i64::from(exp_golomb(bits)?);
        // se(v): 1, -1, 2, -2 and so on.
        let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
        let next = (last + delta).rem_euclid(256);
        if next == 0 {
            return Some(());
        }
        last = next;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_parameter_sets_are_refused() {
        assert!(matches!(Signal::read(&[]), Err(Trouble::Damaged(_))));
        assert!(matches!(Signal::read(&[0x67, 100, 0, 30]), Err(Trouble::Damaged(_))));
        // A set may be of any bytes: these say nothing of colours.
        assert_eq!(Signal::read(&[0x67; 40]).unwrap(), Signal::default());
        // x264's of a clip marked as of limited range and unspecified matrix; cut off, it says
        // neither.
        let set = *b"\x67\x64\0\x0a\xac\xd9\x4d\x69\xa8\x10\x10\x12\0\0\x03\0\x02\0\0\x03\0\x20\x1e\x24\x4b\x2c";
        assert_eq!(Signal::read(&set).unwrap(), Signal { full_range: Some(false), matrix: Some(2), chroma: 0 });
        assert!(matches!(Signal::read(&set[..10]), Err(Trouble::Damaged(_))));
        // High 10: seq_parameter_set_id 0, chroma 4:2:0, ten bits.
        let bits = [0x67, 110, 0, 30, 0b1010_0110, 0b1110_0000];
        let Err(Trouble::Unsupported(what)) = Signal::read(&bits) else { panic!() };
        assert_eq!(what, "10 bits a sample");
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let bits = |text: &str| text.chars().map(|bit| bit == '1').collect::<Vec<_>>().into_iter();
        let read = |text| exp_golomb(&mut bits(text));
        assert_eq!((read("1"), read("010"), read("00100"), read("00111")), (Some(0), Some(1), Some(3), Some(6)));
        assert_eq!((read(""), read("000"), read(&"0".repeat(99))), (None, None, None));
    }
}
