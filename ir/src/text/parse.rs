//! Parsing graphs from text.

use std::collections::HashMap;
use std::sync::Arc;

use super::lexer::{Located, Token, tokenize};
use crate::attribute::{Attribute, Literal};
use crate::builder::Builder;
use crate::graph::{Graph, Role, Value};
use crate::op::{Arity, Op, Operand};
use crate::types::TensorType;

/// Text that is not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// Parts of a line that are not the op they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ParseOpError {
    #[error("there is no op `{0}`")]
    UnknownOp(String),
    #[error("{op}: operand `{name}` must be {expected}")]
    Operand { op: String, name: &'static str, expected: &'static str },
    #[error("{op}: attribute `{name}` is missing; expected {expected}")]
    MissingAttribute { op: String, name: &'static str, expected: &'static str },
    #[error("{op}: attribute `{name}` must be {expected}, found {found}")]
    Attribute { op: String, name: &'static str, expected: &'static str, found: String },
}

/// An op as its line gives it, before the op table has made sense of it.
pub(crate) struct RawOp {
    pub mnemonic: String,
    pub result: TensorType,
    /// In place: single values and bracketed lists.
    positional: std::vec::IntoIter<(bool, Vec<Value>)>,
    named: HashMap<String, Value>,
    attributes: HashMap<String, Literal>,
}

impl RawOp {
    /// Takes the operand `name`.
    pub(crate) fn operand<T: Operand>(&mut self, name: &'static str) -> Result<T, ParseOpError> {
        let (values, expected) = match T::ARITY {
            Arity::One => (self.positional.next().filter(|(list, _)| !list).map(|(_, v)| v), "one value such as %1"),
            Arity::Many => {
                (self.positional.next().filter(|(list, _)| *list).map(|(_, v)| v), "a list such as [%1, %2]")
            }
            Arity::Optional => (Some(self.named.remove(name).into_iter().collect()), "one value such as %1"),
        };
        let fail = || ParseOpError::Operand { op: self.mnemonic.clone(), name, expected };
        values.as_deref().and_then(T::from_values).ok_or_else(fail)
    }

    /// Takes the attribute `name`.
    pub(crate) fn attribute<T: Attribute>(&mut self, name: &'static str) -> Result<T, ParseOpError> {
        if let Some(value) = T::from_result_type(&self.result) {
            return Ok(value);
        }
        let (op, expected) = (self.mnemonic.clone(), T::EXPECTED);
        let Some(literal) = self.attributes.remove(name) else {
            return T::LEFT_OUT.ok_or(ParseOpError::MissingAttribute { op, name, expected });
        };
        T::from_literal(&literal).ok_or_else(|| ParseOpError::Attribute {
            op,
            name,
            expected,
            found: literal.to_string(),
        })
    }

    /// What the op did not take, in words.
    fn left_over(&mut self) -> Option<String> {
        let operand = self.positional.next().map(|_| "one operand too many".to_owned());
        let named = self.named.keys().min().map(|name| format!("no operand `{name}` to name"));
        let attribute = self.attributes.keys().min().map(|name| format!("no attribute `{name}`"));
        operand.or(named).or(attribute)
    }
}

/// The program that `text` holds.
///
/// # Errors
/// The first thing that is not as the format has it, or the first op that breaks a constraint.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let tokens = tokenize(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, values: HashMap::new() };
    let graph = parser.graph()?;
    match parser.peek() {
        None => Ok(graph),
        Some(_) => parser.fail("expected the end of the text after the graph"),
    }
}

struct Parser<'a> {
    tokens: &'a [Located],
    at: usize,
    /// What each `%n` of the text is in the graph; the text may number as it likes.
    values: HashMap<u32, Value>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    /// Takes the punctuation `c` if it is next.
    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(&Token::Punctuation(c));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: char) -> Result<(), ParseError> {
        if self.take(c) { Ok(()) } else { self.fail(format!("expected `{c}`")) }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let place = self.tokens.get(self.at).or(self.tokens.last());
        let (line, column) = place.map_or((1, 1), |t| (t.line, t.column));
        Err(ParseError { line, column, message: message.into() })
    }

    fn graph(&mut self) -> Result<Graph, ParseError> {
        let (Some(Token::Word(word)), Some(Token::Path(name))) = (self.next(), self.next()) else {
            self.at = 0;
            return self.fail("expected `graph @name {`");
        };
        if word != "graph" {
            self.at = 0;
            return self.fail("expected `graph @name {`");
        }
        self.expect('{')?;
        let mut builder = Builder::new(name);
        while !self.take('}') {
            match self.peek() {
                Some(Token::Value(_)) => self.op(&mut builder)?,
                Some(Token::Word(word)) if word == "return" => self.output(&mut builder)?,
                _ => return self.fail("expected an op `%n = ...`, a `return`, or `}`"),
            }
        }
        Ok(builder.finish())
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let Some(&Token::Value(number)) = self.peek() else {
            return self.fail("expected a value such as %1");
        };
        let Some(&value) = self.values.get(&number) else {
            return self.fail(format!("%{number} is not defined before this op"));
        };
        self.at += 1;
        Ok(value)
    }

    /// `return result "sample" = %3`.
    fn output(&mut self, builder: &mut Builder) -> Result<(), ParseError> {
        self.at += 1;
        let role = match self.peek() {
            Some(Token::Word(word)) => Role::ALL.into_iter().find(|r| r.word() == word),
            _ => None,
        };
        let Some(role) = role else { return self.fail("expected `result`, `state` or `tap`") };
        self.at += 1;
        let Some(Token::String(name)) = self.next() else {
            self.at -= 1;
            return self.fail("expected the output's name in double quotes");
        };
        self.expect('=')?;
        let value = self.value()?;
        builder.output(role, name, value);
        Ok(())
    }

    /// `%2 = convolution %0, %1, bias: %3 {strides = [1, 1, 1]} : tensor<...> @ path`.
    fn op(&mut self, builder: &mut Builder) -> Result<(), ParseError> {
        let start = self.at;
        let Some(Token::Value(number)) = self.next() else { return self.fail("expected a value") };
        if self.values.contains_key(&number) {
            self.at = start;
            return self.fail(format!("%{number} is defined twice"));
        }
        self.expect('=')?;
        let Some(Token::Word(mnemonic)) = self.next() else {
            self.at -= 1;
            return self.fail("expected the name of an op");
        };
        let (positional, named) = self.operands()?;
        let attributes = self.attributes()?;
        self.expect(':')?;
        let Some(Token::Type(ty)) = self.next() else {
            self.at -= 1;
            return self.fail("expected the result's type, `tensor<...>`");
        };
        let result: TensorType = match ty.parse() {
            Ok(ty) => ty,
            Err(error) => {
                self.at -= 1;
                return self.fail(error.to_string());
            }
        };
        let path = match self.peek() {
            Some(Token::Path(path)) => {
                let path = Arc::from(path.as_str());
                self.at += 1;
                path
            }
            _ => Arc::from(""),
        };
        let end = std::mem::replace(&mut self.at, start);
        let mut raw = RawOp { mnemonic, result: result.clone(), positional: positional.into_iter(), named, attributes };
        let op = match Op::from_raw(&mut raw) {
            Ok(op) => op,
            Err(error) => return self.fail(error.to_string()),
        };
        if let Some(message) = raw.left_over() {
            return self.fail(format!("{}: {message}", raw.mnemonic));
        }
        builder.set_path(path);
        let value = match builder.push(op) {
            Ok(value) => value,
            Err(error) => return self.fail(error.to_string()),
        };
        if *builder.ty(value) != result {
            return self.fail(format!("written as {result}, inferred as {}", builder.ty(value)));
        }
        self.at = end;
        self.values.insert(number, value);
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "the two kinds of operand of a raw op")]
    fn operands(&mut self) -> Result<(Vec<(bool, Vec<Value>)>, HashMap<String, Value>), ParseError> {
        let (mut positional, mut named) = (Vec::new(), HashMap::new());
        if matches!(self.peek(), Some(Token::Punctuation(':' | '{'))) {
            return Ok((positional, named));
        }
        loop {
            if self.take('[') {
                let mut list = Vec::new();
                while !self.take(']') {
                    if !list.is_empty() {
                        self.expect(',')?;
                    }
                    list.push(self.value()?);
                }
                positional.push((true, list));
            } else if let Some(Token::Word(name)) = self.peek() {
                let name = name.clone();
                self.at += 1;
                self.expect(':')?;
                if named.insert(name.clone(), self.value()?).is_some() {
                    self.at -= 1;
                    return self.fail(format!("operand `{name}` is given twice"));
                }
            } else {
                positional.push((false, vec![self.value()?]));
            }
            if !self.take(',') {
                return Ok((positional, named));
            }
        }
    }

    fn attributes(&mut self) -> Result<HashMap<String, Literal>, ParseError> {
        let mut attributes = HashMap::new();
        if !self.take('{') {
            return Ok(attributes);
        }
        while !self.take('}') {
            if !attributes.is_empty() {
                self.expect(',')?;
            }
            let Some(Token::Word(name)) = self.next() else {
                self.at -= 1;
                return self.fail("expected an attribute's name");
            };
            self.expect('=')?;
            let literal = self.literal(0)?;
            if attributes.insert(name.clone(), literal).is_some() {
                return self.fail(format!("attribute `{name}` is given twice"));
            }
        }
        Ok(attributes)
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, ParseError> {
        if depth > 4 {
            return self.fail("lists are nested too deeply");
        }
        if self.take('[') {
            let mut items = Vec::new();
            while !self.take(']') {
                if !items.is_empty() {
                    self.expect(',')?;
                }
                items.push(self.literal(depth + 1)?);
            }
            return Ok(Literal::List(items));
        }
        match self.next() {
            Some(Token::Int(n)) => Ok(Literal::Int(n)),
            Some(Token::Float(x)) => Ok(Literal::Float(x)),
            Some(Token::String(s)) => Ok(Literal::String(s)),
            Some(Token::Word(w)) => Ok(Literal::Word(w)),
            _ => {
                self.at = self.at.saturating_sub(1);
                self.fail("expected a number, a string, a word or a list")
            }
        }
    }
}
