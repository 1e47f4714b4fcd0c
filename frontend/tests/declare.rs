//! Declared steps: shapes, states, taps, paths, parameters; every graph passes the verifier.

use std::collections::BTreeSet;

use frontend::cogvideox::{CausalPadding, Config};
use frontend::{DeclareError, Half, Position, Step, StepKind, Taps, declare, parameters, tap_names};
use ir::verify::verify;
use ir::{Dims, FirstFrame, Graph, Op, Role};

const DECODE_FIRST: StepKind = StepKind::new(Half::Decoder, Position::First);
const DECODE_NEXT: StepKind = StepKind::new(Half::Decoder, Position::Next);
const DECODE_WHOLE: StepKind = StepKind::new(Half::Decoder, Position::Whole);
const ENCODE_FIRST: StepKind = StepKind::new(Half::Encoder, Position::First);
const ENCODE_NEXT: StepKind = StepKind::new(Half::Encoder, Position::Next);
const ENCODE_WHOLE: StepKind = StepKind::new(Half::Encoder, Position::Whole);

/// A configuration with these levels, 4 latent channels and 4 groups.
fn small(block_out_channels: &[usize], temporal_compression_ratio: f64) -> Config {
    let levels = block_out_channels.len();
    Config {
        block_out_channels: block_out_channels.to_vec(),
        down_block_types: vec!["CogVideoXDownBlock3D".to_owned(); levels],
        up_block_types: vec!["CogVideoXUpBlock3D".to_owned(); levels],
        latent_channels: 4,
        layers_per_block: 1,
        norm_num_groups: 4,
        temporal_compression_ratio,
        ..Config::default()
    }
}

fn step(kind: StepKind, frames: usize, height: usize, width: usize) -> Step {
    Step { kind, batch: 2, frames, height, width }
}

/// Declares and verifies.
#[track_caller]
fn declared(config: &Config, step: Step, taps: &Taps) -> Graph {
    let graph = declare(config, &step, taps).unwrap_or_else(|error| panic!("{error}"));
    verify(&graph).unwrap_or_else(|error| panic!("{step}: {error}"));
    graph
}

fn shape(graph: &Graph, role: Role, name: &str) -> Dims {
    graph.ty(graph.output(role, name).unwrap_or_else(|| panic!("no {name}"))).shape.clone()
}

/// Names and shapes of the states that a step reads.
fn states_read(graph: &Graph) -> BTreeSet<(String, Dims)> {
    let read = graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::State { name, ty } => Some((name.clone(), ty.shape.clone())),
        _ => None,
    });
    read.collect()
}

/// Names and shapes of the states that a step leaves.
fn states_left(graph: &Graph) -> BTreeSet<(String, Dims)> {
    let states = graph.outputs().iter().filter(|output| output.role == Role::State);
    states.map(|state| (state.name.clone(), graph.ty(state.value).shape.clone())).collect()
}

#[test]
fn results_have_the_shapes_of_the_reference() {
    let config = small(&[8, 8, 16, 16], 4.0);
    for (frames, decoded) in [(1, 1), (2, 8), (3, 9), (4, 16), (5, 17)] {
        for kind in [DECODE_FIRST, DECODE_NEXT, DECODE_WHOLE] {
            let graph = declared(&config, step(kind, frames, 3, 5), &Taps::None);
            assert_eq!(shape(&graph, Role::Result, "sample").as_slice(), [2, 3, decoded, 24, 40], "{kind} of {frames}");
            assert_eq!(config.decoded_step_frames(frames), decoded);
        }
    }
    for (frames, encoded) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (8, 2), (9, 3), (15, 4)] {
        for kind in [ENCODE_FIRST, ENCODE_NEXT, ENCODE_WHOLE] {
            let graph = declared(&config, step(kind, frames, 34, 47), &Taps::None);
            assert_eq!(
                shape(&graph, Role::Result, "parameters").as_slice(),
                [2, 8, encoded, 4, 5],
                "{kind} of {frames}"
            );
            assert_eq!(config.encoded_step_frames(frames), encoded);
        }
    }
}

#[test]
fn a_step_reads_the_states_that_the_step_before_left() {
    for pad_mode in CausalPadding::ALL {
        let config = Config { pad_mode, ..small(&[8, 16], 2.0) };
        for (first, next, count) in [(DECODE_FIRST, DECODE_NEXT, 14), (ENCODE_FIRST, ENCODE_NEXT, 10)] {
            let count = match (pad_mode, first.half) {
                (CausalPadding::First, _) => count,
                (CausalPadding::Replicate, Half::Decoder) => 0,
                // The two convolutions of each down block.
                (CausalPadding::Replicate, Half::Encoder) => 4,
            };
            let left = states_left(&declared(&config, step(first, 3, 6, 7), &Taps::None));
            assert_eq!(left.len(), count, "{first}, {pad_mode}");
            for frames in 1..5 {
                let before = declared(&config, step(first, frames, 6, 7), &Taps::None);
                assert!(states_read(&before).is_empty());
                assert_eq!(states_left(&before), left);
                let after = declared(&config, step(next, frames, 6, 7), &Taps::None);
                assert_eq!(states_read(&after), left);
                assert_eq!(states_left(&after), left);
            }
        }
    }
    for whole in [DECODE_WHOLE, ENCODE_WHOLE] {
        let graph = declared(&small(&[8, 16], 2.0), step(whole, 3, 6, 7), &Taps::None);
        assert!(states_read(&graph).is_empty() && states_left(&graph).is_empty(), "{whole}");
    }
    let left = states_left(&declared(&small(&[8, 16], 2.0), step(DECODE_FIRST, 3, 6, 7), &Taps::None));
    assert!(left.contains(&("decoder.conv_in".to_owned(), [2, 4, 2, 6, 7].into_iter().collect())));
    assert!(
        left.contains(&("decoder.up_blocks.1.resnets.0.conv1".to_owned(), [2, 16, 2, 12, 14].into_iter().collect()))
    );
}

#[test]
fn replicated_borders_are_padded_before_the_convolution() {
    let config = Config { pad_mode: CausalPadding::Replicate, ..small(&[8, 16], 2.0) };
    let graph = declared(&config, step(DECODE_NEXT, 2, 4, 5), &Taps::None);
    let conv_in = graph.nodes().find(|(_, node)| matches!(node.op, Op::Convolution { .. })).unwrap().1;
    let Op::Convolution { input, padding, .. } = &conv_in.op else { unreachable!() };
    assert_eq!((&*conv_in.path, *padding), ("decoder.conv_in", [[0, 0]; 3]));
    assert_eq!(graph.ty(*input).shape.as_slice(), [2, 4, 4, 6, 7]);
}

#[test]
fn taps_are_the_modules_that_the_goldens_hold() {
    let config = small(&[8, 16], 2.0);
    let names = [Half::Encoder, Half::Decoder].map(|half| tap_names(&config, half).unwrap()).concat();
    assert_eq!(names, include_str!("data/two-level-taps.txt").lines().collect::<Vec<_>>());

    let graph = declared(&config, step(DECODE_FIRST, 3, 5, 7), &Taps::All);
    for (name, expected) in [
        ("decoder.conv_in", [2, 16, 3, 5, 7]),
        ("decoder.mid_block.resnets.0.norm1.conv_y", [2, 16, 3, 5, 7]),
        ("decoder.up_blocks.0.upsamplers.0", [2, 16, 5, 10, 14]),
        ("decoder.up_blocks.1.resnets.0", [2, 8, 5, 10, 14]),
        ("decoder.norm_out.norm_layer", [2, 8, 5, 10, 14]),
    ] {
        assert_eq!(shape(&graph, Role::Tap, name).as_slice(), expected, "{name}");
    }
    assert!(graph.outputs().is_sorted_by_key(|output| output.role));
}

#[test]
fn chosen_taps_alone_leave_the_step() {
    let config = small(&[8, 16], 2.0);
    let step = step(ENCODE_FIRST, 3, 4, 4);
    let name = "encoder.down_blocks.0.downsamplers.0".to_owned();
    let graph = declared(&config, step, &Taps::Named([name.clone()].into()));
    let taps: Vec<_> = graph.outputs().iter().filter(|output| output.role == Role::Tap).map(|tap| &tap.name).collect();
    assert_eq!(taps, [&name]);

    let error = declare(&config, &step, &Taps::Named([name, "decoder.conv_in".to_owned(), "x".to_owned()].into()));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the encoder has no module `decoder.conv_in`, `x` whose output can be tapped"
    );
}

/// All ops of a kind of step, as `mnemonic path`, without leaves.
fn ops(graph: &Graph) -> Vec<String> {
    let ops = graph.nodes().filter(|(_, node)| !node.op.is_leaf());
    ops.map(|(_, node)| format!("{} {}", node.op.mnemonic(), node.path)).collect()
}

#[test]
fn a_residual_block_is_declared_in_the_order_of_the_reference() {
    let graph = declared(&small(&[8, 16], 2.0), step(DECODE_NEXT, 3, 2, 2), &Taps::None);
    let block = "decoder.up_blocks.1.resnets.0";
    let found: Vec<_> =
        ops(&graph).into_iter().filter(|op| op.contains(block)).map(|op| op.replace(block, "")).collect();
    let norm = |n: usize| {
        [
            ("resize_nearest", ""),
            ("convolution", ".conv_y"),
            ("add_bias", ".conv_y"),
            ("convolution", ".conv_b"),
            ("add_bias", ".conv_b"),
            ("group_norm", ".norm_layer"),
            ("multiply", ""),
            ("add", ""),
        ]
        .map(|(op, module)| format!("{op} .norm{n}{module}"))
        .to_vec()
    };
    let conv =
        |n: usize| ["concatenate", "slice", "convolution", "add_bias"].map(|op| format!("{op} .conv{n}")).to_vec();
    let silu = || vec!["silu ".to_owned()];
    let shortcut = ["convolution .conv_shortcut", "add_bias .conv_shortcut", "add "].map(str::to_owned).to_vec();
    assert_eq!(found, [norm(1), silu(), conv(1), norm(2), silu(), conv(2), shortcut].concat());
}

#[test]
fn an_odd_first_frame_is_resized_and_pooled_apart() {
    let config = small(&[8, 16, 16], 2.0);
    let resized = |frames: usize| {
        let graph = declared(&config, step(DECODE_FIRST, frames, 2, 2), &Taps::None);
        let samplers: Vec<_> = graph.nodes().filter(|(_, node)| node.path.ends_with("upsamplers.0")).collect();
        let resizes = samplers.into_iter().filter_map(|(_, node)| match &node.op {
            Op::ResizeNearest { size, first_frame, .. } => Some((size[0], *first_frame)),
            _ => None,
        });
        resizes.collect::<Vec<_>>()
    };
    let (joined, apart) = (FirstFrame::Joined, FirstFrame::Apart);
    assert_eq!(resized(1), [(1, joined), (1, joined)]);
    assert_eq!(resized(2), [(4, joined), (4, joined)]);
    assert_eq!(resized(3), [(5, apart), (5, joined)]);

    let pooled = |frames: usize| {
        let graph = declared(&config, step(ENCODE_FIRST, frames, 8, 8), &Taps::None);
        let pools = graph.nodes().filter_map(|(_, node)| match &node.op {
            Op::AveragePool { window, first_frame, .. } => Some((*window, *first_frame, node.ty.space().unwrap()[0])),
            _ => None,
        });
        pools.collect::<Vec<_>>()
    };
    assert_eq!(pooled(1), [([2, 1, 1], apart, 1)]);
    assert_eq!(pooled(8), [([2, 1, 1], joined, 4)]);
    assert_eq!(pooled(9), [([2, 1, 1], apart, 5)]);
}

#[test]
fn the_configured_epsilon_is_only_for_the_encoders_residual_blocks() {
    let config = Config { norm_eps: 0.25, ..small(&[8, 16], 2.0) };
    for (kind, configured) in [(DECODE_FIRST, 0), (ENCODE_FIRST, 8)] {
        let graph = declared(&config, step(kind, 1, 4, 4), &Taps::None);
        for (_, node) in graph.nodes() {
            let Op::GroupNorm { epsilon, .. } = node.op else { continue };
            let expected = if configured > 0 && node.path.contains("resnets") { 0.25 } else { 1e-6 };
            assert_eq!(epsilon, expected, "{}", node.path);
        }
        let count = graph.nodes().filter(|(_, n)| matches!(n.op, Op::GroupNorm { epsilon: 0.25, .. })).count();
        assert_eq!(count, configured);
    }
}

#[test]
fn the_published_model_has_436_tensors() {
    let config = Config::default();
    let elements = |tensors: &[(String, Dims)]| tensors.iter().map(|(_, s)| s.iter().product::<usize>()).sum::<usize>();
    let encoder = parameters(&config, Half::Encoder).unwrap();
    let decoder = parameters(&config, Half::Decoder).unwrap();
    // Counted with diffusers 0.42.1.
    assert_eq!((encoder.len(), elements(&encoder)), (128, 92_215_456));
    assert_eq!((decoder.len(), elements(&decoder)), (308, 123_368_451));
    for (half, name, shape) in [
        (&decoder, "decoder.conv_in.conv.weight", &[512, 16, 3, 3, 3][..]),
        (&decoder, "decoder.mid_block.resnets.0.norm1.norm_layer.weight", &[512]),
        (&decoder, "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight", &[512, 16, 1, 1, 1]),
        (&decoder, "decoder.up_blocks.0.upsamplers.0.conv.weight", &[512, 512, 3, 3]),
        (&decoder, "decoder.up_blocks.3.resnets.0.conv_shortcut.weight", &[128, 256, 1, 1, 1]),
        (&encoder, "encoder.down_blocks.1.resnets.0.conv_shortcut.bias", &[256]),
        (&encoder, "encoder.down_blocks.0.downsamplers.0.conv.weight", &[128, 128, 3, 3]),
        (&encoder, "encoder.norm_out.bias", &[512]),
    ] {
        let found = half.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found.1.as_slice(), shape, "{name}");
    }
}

#[test]
fn quantisation_convolutions_stand_at_the_latents() {
    let config = Config { out_channels: 4, use_quant_conv: true, use_post_quant_conv: true, ..small(&[8, 16], 2.0) };
    let encoder = parameters(&config, Half::Encoder).unwrap();
    assert_eq!(encoder[encoder.len() - 2].0, "quant_conv.weight");
    assert_eq!(encoder[encoder.len() - 2].1.as_slice(), [8, 8, 1, 1, 1]);
    let decoder = parameters(&config, Half::Decoder).unwrap();
    assert_eq!(decoder[0].0, "post_quant_conv.weight");
    assert_eq!(decoder[0].1.as_slice(), [4, 4, 1, 1, 1]);
    // The spatial norms read the latents behind the convolution.
    let graph = declared(&config, step(DECODE_FIRST, 1, 2, 2), &Taps::None);
    for (_, node) in graph.nodes() {
        if let Op::ResizeNearest { input, .. } = node.op
            && node.path.contains("norm")
        {
            assert_eq!(&*graph.node(input).path, "post_quant_conv");
        }
    }
}

#[test]
fn every_op_but_the_input_has_a_path() {
    for kind in StepKind::ALL {
        let graph = declared(&small(&[8, 16], 2.0), step(kind, 3, 4, 4), &Taps::All);
        let bare: Vec<_> = graph.nodes().filter(|(_, node)| node.path.is_empty()).collect();
        assert!(matches!(bare[..], [(_, node)] if matches!(node.op, Op::Input { .. })), "{kind}");
        assert_eq!(graph.name, kind.to_string().replace('-', "_"));
    }
}

#[test]
fn one_level_samples_nothing() {
    let config = small(&[8], 4.0);
    for kind in StepKind::ALL {
        declared(&config, step(kind, 3, 1, 1), &Taps::All);
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let config = small(&[8, 8, 16, 16], 4.0);
    let refused = |step: Step| declare(&config, &step, &Taps::None).unwrap_err();
    assert_eq!(
        refused(step(ENCODE_FIRST, 1, 8, 7)).to_string(),
        "encode-first of 2x1x8x7: the sample must be at least 8x8 pixels, of which the encoder makes one \
         latent; it is 8x7"
    );
    declared(&config, step(ENCODE_NEXT, 1, 8, 8), &Taps::None);
    declared(&config, step(DECODE_NEXT, 1, 1, 1), &Taps::None);
    for empty in [
        step(DECODE_FIRST, 0, 1, 1),
        step(DECODE_NEXT, 1, 0, 1),
        step(ENCODE_FIRST, 1, 8, 0),
        Step { batch: 0, ..step(ENCODE_NEXT, 1, 8, 8) },
    ] {
        assert_eq!(refused(empty), DeclareError::Empty { step: empty });
    }
    for huge in [
        step(DECODE_FIRST, usize::MAX, 1, 1),
        step(ENCODE_NEXT, 1, 1 << 40, 1 << 40),
        step(DECODE_NEXT, 1, 1 << 29, 1 << 29),
    ] {
        assert!(matches!(refused(huge), DeclareError::Build { .. }), "{huge}");
    }
}

#[test]
fn a_config_that_cannot_be_honoured_is_refused() {
    let config = Config { block_out_channels: vec![], ..small(&[8], 1.0) };
    for half in [Half::Encoder, Half::Decoder] {
        assert!(matches!(parameters(&config, half), Err(DeclareError::Config(_))));
    }
}

#[test]
fn kinds_of_steps_print_and_parse() {
    for kind in StepKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = "decode".parse::<StepKind>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`decode` is not a step: use decode-first, decode-next or decode-whole, encode-first, encode-next or \
         encode-whole"
    );
}
