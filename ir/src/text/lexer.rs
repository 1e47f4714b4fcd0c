//! Splitting a program's text into tokens, each with its line and column.

use super::ParseError;

/// A piece of text with a meaning of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `%12`.
    Value(u32),
    /// A name: letters, digits, `_` and `.`, not starting with a digit.
    Word(String),
    /// `"..."`, unescaped.
    String(String),
    /// A whole number without sign.
    Int(usize),
    /// Any other number.
    Float(f64),
    /// `tensor<...>`, as written.
    Type(String),
    /// The name behind `@`: it ends at a space or a brace.
    Path(String),
    /// One of `{ } [ ] , : =`.
    Punctuation(char),
}

/// A token in its place.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub token: Token,
    pub line: usize,
    pub column: usize,
}

/// All tokens of `text`, in order.
pub(super) fn tokenize(text: &str) -> Result<Vec<Located>, ParseError> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        loop {
            rest = rest.trim_start();
            let column = line.len() - rest.len() + 1;
            if rest.is_empty() || rest.starts_with("//") {
                break;
            }
            let fail = |message: String| ParseError { line: number + 1, column, message };
            let (token, length) = next(rest).map_err(fail)?;
            tokens.push(Located { token, line: number + 1, column });
            rest = &rest[length..];
        }
    }
    Ok(tokens)
}

/// The first token of `rest`, which is not empty and starts with no space, and its length in bytes.
fn next(rest: &str) -> Result<(Token, usize), String> {
    let first = rest.chars().next().unwrap_or(' ');
    let run = |accept: fn(char) -> bool| rest.find(|c| !accept(c)).unwrap_or(rest.len());
    match first {
        '{' | '}' | '[' | ']' | ',' | ':' | '=' => Ok((Token::Punctuation(first), 1)),
        '@' => {
            let name = rest[1..].trim_start_matches(' ');
            let skipped = rest.len() - name.len();
            let end = name.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(name.len());
            Ok((Token::Path(name[..end].to_owned()), skipped + end))
        }
        '%' => {
            let digits = &rest[1..];
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let number = digits[..end].parse().map_err(|_| "expected a value such as %12".to_owned())?;
            Ok((Token::Value(number), end + 1))
        }
        '"' => string(rest),
        '-' | '0'..='9' => {
            let end = run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            let number = &rest[..end];
            let token = match number.parse() {
                Ok(n) => Token::Int(n),
                Err(_) => Token::Float(number.parse().map_err(|_| format!("`{number}` is not a number"))?),
            };
            Ok((token, end))
        }
        _ if rest.starts_with("tensor<") => {
            let end = rest.find('>').ok_or("a type that starts here has no `>`")? + 1;
            Ok((Token::Type(rest[..end].to_owned()), end))
        }
        c if c.is_ascii_alphabetic() || c == '_' => {
            let end = run(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
            Ok((Token::Word(rest[..end].to_owned()), end))
        }
        c => Err(format!("unexpected character `{c}`")),
    }
}

/// A string with Rust's escapes `\\`, `\"`, `\n`, `\t`, `\r`, `\0`, `\'`, `\u{..}`.
fn string(rest: &str) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::String(value), at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some('0') => value.push('\0'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                Some('u') => {
                    let code: String =
                        chars.by_ref().map(|(_, c)| c).skip_while(|&c| c == '{').take_while(|&c| c != '}').collect();
                    let scalar = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    value.push(scalar.ok_or("not a Unicode scalar value behind `\\u`")?);
                }
                _ => return Err("unknown escape in a string".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("a string that starts here does not end on its line".to_owned())
}
