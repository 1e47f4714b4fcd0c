//! A step on several devices, each with some of the rows, against the same step on one.

mod common;

use std::fs;
use std::path::Path;

use backend_tpu_stablehlo::pjrt::{ArgumentType, Client, CompileOptions, Input, Signature};
use backend_tpu_stablehlo::{EmitOptions, Mesh, Module, emit};
use ir::TensorType;

/// The axis that a tensor is cut along among these devices, if it is.
fn cut_axis(ty: &TensorType, mesh: Mesh) -> Option<usize> {
    (0..ty.rank()).find(|&axis| mesh.share(ty).shape[axis] < ty.shape[axis])
}

/// Elements in one run along an axis.
fn run_along(ty: &TensorType, axis: usize) -> usize {
    ty.shape[axis..].iter().product()
}

/// What each device gets of a tensor.
fn cut(ty: &TensorType, values: &[f32], mesh: Mesh) -> Vec<Vec<f32>> {
    let devices = mesh.devices();
    let Some(axis) = cut_axis(ty, mesh) else { return vec![values.to_vec(); devices] };
    let run = run_along(ty, axis);
    let part = run / devices;
    (0..devices).map(|d| values.chunks(run).flat_map(|all| all[d * part..(d + 1) * part].to_vec()).collect()).collect()
}

/// A tensor of what each device has of it.
fn join(ty: &TensorType, shares: &[Vec<f32>], mesh: Mesh) -> Vec<f32> {
    let Some(axis) = cut_axis(ty, mesh) else { return shares[0].clone() };
    let part = run_along(ty, axis) / shares.len();
    let runs = ty.elements() / run_along(ty, axis);
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
fn run(client: &Client, module: &Module, mesh: Mesh) -> Vec<Vec<f32>> {
    let devices = mesh.devices();
    let argument = |of: &backend_tpu_stablehlo::Argument| ArgumentType {
        ty: mesh.share(&of.ty),
        donated: of.donated_to.is_some(),
    };
    let signature = Signature {
        arguments: module.arguments.iter().map(argument).collect(),
        results: module.results.iter().map(|result| mesh.share(&result.ty)).collect(),
    };
    let options = CompileOptions::default().with_partitions(devices);
    let program = client.compile(module.text.as_bytes(), signature, &options).unwrap();
    let all = client.devices().unwrap();
    let mut inputs: Vec<Vec<Input<'_>>> = (0..devices).map(|_| vec![]).collect();
    for (number, argument) in module.arguments.iter().enumerate() {
        let shares = cut(&argument.ty, &random(number, argument.ty.elements()), mesh);
        for ((list, share_of), device) in inputs.iter_mut().zip(shares).zip(&all) {
            list.push(Input::Donate(device.put(share_of, &mesh.share(&argument.ty)).unwrap()));
        }
    }
    let results = program.run(inputs).unwrap().wait().unwrap();
    let whole = |(index, result): (usize, &backend_tpu_stablehlo::ModuleResult)| {
        let shares: Vec<_> = results.iter().map(|list| list[index].fetch::<f32>().unwrap().wait().unwrap()).collect();
        join(&result.ty, &shares, mesh)
    };
    module.results.iter().enumerate().map(whole).collect()
}

#[test]
fn strips_on_several_devices_are_the_frames_on_one() {
    let Some(client) = common::client("strips_on_several_devices_are_the_frames_on_one", 3) else { return };
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/tests/filetests/pipeline/residual_block_next_step.ir");
    let text = fs::read_to_string(path).unwrap();
    let (_, lowered) = text.split_once("// ---- becomes").unwrap();
    let graph = ir::text::parse(lowered).unwrap();
    let emitted = |mesh| emit(&graph, &EmitOptions::default().with_mesh(mesh)).unwrap();
    let whole = run(&client, &emitted(Mesh::SINGLE), Mesh::SINGLE);
    assert_eq!(whole.len(), 3);
    // Four rows: for two devices there are two each; for three they do not divide.
    for height in [2, 3] {
        let mesh = Mesh { data: 1, height };
        let strips = run(&client, &emitted(mesh), mesh);
        for (whole, strips) in whole.iter().zip(&strips) {
            assert_eq!(whole.len(), strips.len());
            let same = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(whole.iter().zip(strips).all(same), "on {height} devices");
            assert!(whole.iter().any(|value| value.abs() > 0.1));
        }
    }
}
