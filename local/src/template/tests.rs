use super::*;
use proptest::prelude::*;
use serde_json::json;

fn render(template: &str) -> String {
    let context = json!({
        "connectionId": "abc=", "connectedAt": 5, "identity": {"sourceIp": "::1"},
        "authorizer": {"principalId": "alice", "admin": "true"},
    });
    let inputs = Inputs {
        context: &context,
        stage_variables: &json!({"colour": "green"}),
        body: r#"{"action":"echo","n":3,"text":"it's \"so\"","list":[1,"b",{"c":null}],"map":{"k":"v","l":[2]}}"#,
    };
    Template::parse(template)
        .unwrap_or_else(|error| panic!("{template}: {error}"))
        .render(inputs)
        .unwrap()
}

fn check(template: &str, expected: &str) {
    assert_eq!(render(template), expected, "{template}");
}

#[test]
fn text_and_variables() {
    check(r#"{"type":"pong"}"#, r#"{"type":"pong"}"#);
    check(r#"{"id":"$context.connectionId"}"#, r#"{"id":"abc="}"#);
    check("${context.connectedAt}ms", "5ms");
    check("I am $context.connectionId.", "I am abc=.");
    check(
        "$context.identity.sourceIp|$stageVariables.colour|",
        "::1|green|",
    );
    check(
        "price: $5, $ and ${ and #1 #general #",
        "price: $5, $ and ${ and #1 #general #",
    );
    check(r"a\nb \\ c", r"a\nb \\ c");
    check("$context.authorizer.principalId", "alice");
}

#[test]
fn what_is_not_there_is_empty_and_true() {
    check(
        "[$context.nothing|$!nothing|${nothing}|$!{nothing.of.it}]",
        "[|||]",
    );
    check(
        "[$input.path('$.nothing')|$input.json('$.nothing')]",
        "[|\"\"]",
    );
    check("[$input.path('$.list[2].c')|$stageVariables.x]", "[|]");
    check("#if($context.nothing)yes#{else}no#end", "yes");
    check("#if($context.nothing != '')yes#{else}no#end", "no");
}

#[test]
fn the_input_and_its_parts() {
    check("$input.json('$.list')", r#"[1,"b",{"c":null}]"#);
    check("$input.json('$.text')", r#""it's \"so\"""#);
    check("$input.path('$.text')", r#"it's "so""#);
    check("$input.path('$.map').k $input.path('$').map.l[0]", "v 2");
    check("$input.path('$.map')", "{k=v, l=[2]}");
    check(
        "$input.path('$.list')[1] $input.path(\"$['list'][0]\")",
        "b 1",
    );
    check("#set($p = 'n')$input.path(\"$.$p\")", "3");
    let empty = Inputs {
        context: &json!({}),
        stage_variables: &json!({}),
        body: "",
    };
    let body = Template::parse("$input.body").unwrap();
    assert_eq!(body.render(empty).unwrap(), "{}");
    let told = Inputs {
        body: "no $json",
        ..empty
    };
    assert_eq!(body.render(told).unwrap(), "no $json");
}

#[test]
fn the_functions_of_util() {
    check(
        "$util.escapeJavaScript($input.path('$.text'))",
        r#"it\'s \"so\""#,
    );
    check(
        "$util.escapeJavaScript('a/b\té\u{1f600}')",
        r"a\/b\t\u00E9\uD83D\uDE00",
    );
    check(
        "$util.base64Encode('hi')$util.base64Decode('aGk=')",
        "aGk=hi",
    );
    check("$util.urlEncode('a b&c*d~é')", "a+b%26c*d%7E%C3%A9");
    check("$util.urlDecode('a+b%26')", "a b&");
    check("$util.parseJson('{\"a\":{\"b\":[7]}}').a.b[0]", "7");
    check("$util.base64Decode('!')$util.parseJson('{')", "");
}

#[test]
fn variables_and_conditions() {
    check(
        "#set($x = 1)\n#set( $y = \"$x and ${x}2\" )\n$y",
        "1 and 12",
    );
    check("#set($x = $input.path('$.n') * 2 - 1)$x", "5");
    check(
        "#set($x = 7 / 2)$x #set($x = 7 % 4)$x #set($x = 'a' + 1)$x #set($x = 1 / 0)[$x]",
        "3 3 a1 []",
    );
    check(
        "#if($input.path('$.n') == 3 && $context.connectedAt < 6)a#end",
        "a",
    );
    check(
        "#if(!($input.path('$.n') >= 3) || false)a#elseif($input.path('$.action') == 'echo')b#{else}c#end",
        "b",
    );
    check(
        "#if($context.connectedAt == '5' and not (1 gt 2))a#end",
        "a",
    );
    check("#if(1 == 1.0)a#end#if('a' < 'b')b#end", "a");
    check("#if($context.authorizer.admin == 'true')a#end", "a");
    check("#if(false)\n  a\n#else\n  b\n#end\nc", "  b\nc");
    check("#if(true)a#end\n\nb", "a\nb");
}

#[test]
fn loops_and_methods() {
    check(
        "#foreach($x in $input.path('$.list'))$foreach.index:$x#if($foreach.hasNext),#end#end",
        "0:1,1:b,2:{c=}",
    );
    check("#foreach($k in $input.path('$.map').keySet())$k#end", "kl");
    check(
        "#foreach($e in $input.path('$.map').entrySet())$e.key=$e.value;#end",
        "k=v;l=[2];",
    );
    check(
        "#foreach($x in [1..3])$x#foreach($y in ['a', 'b'])$y$velocityCount#end$foreach.count #end[$x$foreach]",
        "1a1b21 2a1b22 3a1b23 []",
    );
    check("#foreach($x in 'no list')a#end", "");
    check(
        "#set($m = {'a': 1, 'b': [2, 3]})$m.a $m.get('b').size() $m['b'][1] $m.containsKey('c')",
        "1 2 3 false",
    );
    check(
        "$input.path('$.action').toUpperCase().replace('E', 'e').length()",
        "4",
    );
    check(
        "#if($input.path('$.list').contains('b') && 'abc' != '' && $context.connectionId.endsWith('='))a#end",
        "a",
    );
    check(
        "$input.path('$.n').trim()|$input.path('$.list').trim()",
        "|",
    );
}

#[test]
fn comments_are_not_rendered() {
    check("a## no\nb#* no\n #if *#c", "abc");
}

#[test]
fn what_does_not_run_is_refused_with_its_place() {
    let check = |template: &str, expected: &str| {
        let error = Template::parse(template).unwrap_err().to_string();
        assert!(error.contains(expected), "{template}: {error}");
    };
    check(
        "a\nbc#macro(x)#end",
        "line 2, column 3: the directive #macro",
    );
    check("#foo('x')", "line 1, column 1: #foo is not a directive");
    check(
        "{\n  \"a\": $input.params('x')\n}",
        "line 2, column 8: of $input",
    );
    check("$input", "of $input");
    check("$util.qr('x')", "of $util");
    check("$input.json()", "one argument");
    check("$input.path('$..a')", "only names and indexes");
    check("$input.path('a')", "does not begin with $");
    check(
        "$context.x.replaceAll('a', 'b')",
        "replaceAll() does not run",
    );
    check("$context.x.size(1)", "takes 0 arguments");
    check(
        "#set($context.responseOverride.status = 404)",
        "#set needs a $name",
    );
    check("#set($x.y = 1)", "a whole variable");
    check("#set($x 1)", "needs a =");
    check("#set($x = \"a$input\")", "line 1, column 13: of $input");
    check("#if(true)a", "#if has no #end");
    check("#foreach($x in [1])a#else#end", "#foreach has no #end");
    check("a#end", "no #if or #foreach");
    check("#if(1 +)a#end", "expected an expression");
    check("${context.x", "${ has no }");
    check("#* a", "no end *#");
    check(r"\$context.x", "escaped");
    check("#[[a]]#", "#[[ does not run");
    check(&"#if(true)".repeat(60), "nests too deeply");
    check(&format!("#if({}1", "(".repeat(100_000)), "nests too deeply");
    check(&format!("#if({}1", "!".repeat(100_000)), "nests too deeply");
    check(
        &format!("#if(1{})a#end", "+1".repeat(100_000)),
        "nests too deeply",
    );
    check(&"x".repeat(300 * 1024 + 1), "300 KB");
}

#[test]
fn a_template_that_does_not_end_is_given_up() {
    let fails = |template: &str, body: &str, expected: RenderError| {
        let inputs = Inputs {
            context: &json!({}),
            stage_variables: &json!({}),
            body,
        };
        let template = Template::parse(template).unwrap();
        assert_eq!(template.render(inputs), Err(expected));
    };
    fails(
        "#foreach($x in [1..1001])a#end",
        "",
        RenderError::TooManyRounds,
    );
    let body = format!("[1{}]", ",1".repeat(1000));
    fails(
        "#foreach($x in $input.path('$'))a#end",
        &body,
        RenderError::TooManyRounds,
    );
    let nested =
        "#foreach($x in [1..1000])#foreach($y in [1..1000])#foreach($z in [1..1000])a#end#end#end";
    fails(nested, "", RenderError::TooManySteps);
    fails(
        "#set($a = 'aa')#foreach($x in [1..1000])#set($a = \"$a$a\")#end",
        "",
        RenderError::TooManySteps,
    );
    fails(
        "#set($a = 'aa')#foreach($x in [1..1000])#set($a = $a + $a)#end",
        "",
        RenderError::TooManySteps,
    );
    fails(
        "#set($a = [1])#foreach($x in [1..1000])#set($a = [$a, $a])#end",
        "",
        RenderError::TooManySteps,
    );
}

/// Pieces that make templates more often than any text does.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "#if(",
            ")",
            "#end",
            "#else",
            "#elseif(",
            "#foreach($x in ",
            "#set($x = ",
            "$x",
            "${",
            "}",
            "[",
            "]",
            "$input.path('$.a')",
            "$input.json(",
            "$input.body",
            "$context.a.b",
            "\"",
            "'",
            "==",
            "&&",
            "!",
            "-",
            "9223372036854775807",
            "1.5",
            " / 0",
            " % ",
            "..",
            ",",
            "{",
            ":",
            ".get(",
            ".size()",
            "$util.parseJson(",
            "$util.escapeJavaScript(",
            "##",
            "#*",
            "*#",
            "\\",
            "\n",
            "$foreach.hasNext",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ]
}

proptest! {
    #[test]
    fn any_template_renders_or_is_refused(pieces in prop::collection::vec(piece(), 0..20), body in ".{0,20}") {
        let text = pieces.concat();
        if let Ok(template) = Template::parse(&text) {
            let context = json!({"a": {"b": [1, -1, {"c": "d"}]}});
            let _ = template.render(Inputs { context: &context, stage_variables: &json!({}), body: &body });
        }
    }

    #[test]
    fn text_without_signs_is_itself(text in "[^$#\\\\]{0,50}") {
        prop_assert_eq!(render(&text), text);
    }

    #[test]
    fn any_path_finds_something_or_nothing(text in r"\$?[.\[\]'a-c0-9*]{0,10}") {
        let _ = path::find(&json!({"a": [{"b": 1}]}), &text);
    }
}
