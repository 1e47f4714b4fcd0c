//! `tessera completions`: a script that teaches a shell the commands and their options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{EXIT_CODES, Failure, print};

const EXAMPLES: &str = "\
Examples:
  tessera completions bash > ~/.local/share/bash-completion/completions/tessera
  tessera completions zsh > ~/.zfunc/_tessera
      with `fpath+=~/.zfunc` in front of `compinit` in ~/.zshrc
  tessera completions fish > ~/.config/fish/completions/tessera.fish";

/// Print a script that completes tessera's commands and options in a shell
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = vec![];
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "tessera", &mut script);
    print(&String::from_utf8_lossy(&script))
}
