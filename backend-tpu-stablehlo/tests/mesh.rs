//! A step on two devices, each with half of the rows, against the same step on one.

mod common;

use std::fs;
use std::path::Path;

use backend_tpu_stablehlo::pjrt::{ArgumentType, Client, CompileOptions, Input, Signature};
use backend_tpu_stablehlo::{EmitOptions, Mesh, Module, emit};
use ir::TensorType;

/// Where the rows of a video are; `None` for what is whole on every device.
fn rows(ty: &TensorType) -> Option<usize> {
    ty.layout.video().map(|axes| axes.space[1])
}

/// The type of each device's share.
fn share(ty: &TensorType, devices: usize) -> TensorType {
    let mut ty = ty.clone();
    if let Some(axis) = rows(&ty) {
        ty.shape[axis] /= devices;
    }
    ty
}

/// Elements and rows in one run of rows.
fn run_of_rows(ty: &TensorType, axis: usize) -> usize {
    ty.shape[axis..].iter().product()
}

/// What each device gets of a tensor.
fn cut(ty: &TensorType, values: &[f32], devices: usize) -> Vec<Vec<f32>> {
    let Some(axis) = rows(ty) else { return vec![values.to_vec(); devices] };
    let run = run_of_rows(ty, axis);
    let part = run / devices;
    (0..devices).map(|d| values.chunks(run).flat_map(|all| all[d * part..(d + 1) * part].to_vec()).collect()).collect()
}

/// A tensor of what each device has of it.
fn join(ty: &TensorType, shares: &[Vec<f32>]) -> Vec<f32> {
    let Some(axis) = rows(ty) else { return shares[0].clone() };
    let part = run_of_rows(ty, axis) / shares.len();
    let runs = ty.elements() / run_of_rows(ty, axis);
    (0..runs)
        .flat_map(|run| shares.iter().flat_map(move |share| share[run * part..(run + 1) * part].to_vec()))
        .collect()
}

/// Numbers in [-1, 1) that look random and are always the same.
fn random(seed: usize, count: usize) -> Vec<f32> {
    let value = |i: usize| ((seed * 7919 + i) as u32).wrapping_mul(2_654_435_761) >> 8;
    (0..count).map(|i| value(i) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Runs a module on the client's first devices; whole results.
fn run(client: &Client, module: &Module, devices: usize) -> Vec<Vec<f32>> {
    let argument = |of: &backend_tpu_stablehlo::Argument| ArgumentType {
        ty: share(&of.ty, devices),
        donated: of.donated_to.is_some(),
    };
    let signature = Signature {
        arguments: module.arguments.iter().map(argument).collect(),
        results: module.results.iter().map(|result| share(&result.ty, devices)).collect(),
    };
    let options = CompileOptions { partitions: devices, ..CompileOptions::default() };
    let program = client.compile(module.text.as_bytes(), signature, &options).unwrap();
    let all = client.devices().unwrap();
    let mut inputs: Vec<Vec<Input<'_>>> = (0..devices).map(|_| vec![]).collect();
    for (number, argument) in module.arguments.iter().enumerate() {
        let shares = cut(&argument.ty, &random(number, argument.ty.elements()), devices);
        for ((list, share_of), device) in inputs.iter_mut().zip(shares).zip(&all) {
            list.push(Input::Donate(device.put(share_of, &share(&argument.ty, devices)).unwrap()));
        }
    }
    let results = program.run(inputs).unwrap().wait().unwrap();
    let whole = |(index, result): (usize, &backend_tpu_stablehlo::ModuleResult)| {
        let shares: Vec<_> = results.iter().map(|list| list[index].fetch::<f32>().unwrap().wait().unwrap()).collect();
        join(&result.ty, &shares)
    };
    module.results.iter().enumerate().map(whole).collect()
}

#[test]
fn strips_on_two_devices_are_the_frames_on_one() {
    let Some(client) = common::client("strips_on_two_devices_are_the_frames_on_one", 2) else { return };
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/tests/filetests/pipeline/residual_block_next_step.ir");
    let text = fs::read_to_string(path).unwrap();
    let (_, lowered) = text.split_once("// ---- becomes").unwrap();
    let graph = ir::text::parse(lowered).unwrap();
    let emitted = |mesh| emit(&graph, &EmitOptions { mesh, ..EmitOptions::default() }).unwrap();
    let whole = run(&client, &emitted(Mesh::SINGLE), 1);
    let strips = run(&client, &emitted(Mesh { data: 1, height: 2 }), 2);
    assert_eq!(whole.len(), 3);
    for (whole, strips) in whole.iter().zip(&strips) {
        assert_eq!(whole.len(), strips.len());
        let difference = whole.iter().zip(strips).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{difference}");
        assert!(whole.iter().any(|value| value.abs() > 0.1));
    }
}
