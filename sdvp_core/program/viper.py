"""ViperGPT's Python dialect: parse, and compile to what the sandbox can run.

A program defines ``execute_command`` (Suris, Menon and Vondrick, "ViperGPT", ICCV 2023). The
sandbox's interpreter differs from CPython where a program asks a module inside a native callback,
in generator expressions (which it makes lists at once) and in methods used as functions: these
are rewritten here, so that a program asks the same modules in the same order as in CPython.
"""

import ast

from sdvp_core.program.errors import ProgramError, parse_python, refuse_forbidden, unparse

ENTRY = "execute_command"
_TYPES = ("str", "list", "dict", "set")
_CLASS_METHODS = ("fromkeys", "maketrans")


def parse(program: str) -> ast.Module:
    """The syntax tree, refused where it names what no program may. Raises ``ProgramError``."""
    tree = parse_python(program)
    refuse_forbidden(tree)
    return tree


def compile(program: str) -> str:
    """The executable Python form. Raises ``ProgramError`` where the program cannot run."""
    tree = parse(program)
    entry = _entry(tree)
    if entry is None:
        raise ProgramError("program_error", f"there is no function {ENTRY}")
    source = unparse(_Rewrite().visit, tree)
    return f"{source}\n_answer({ENTRY}({_bindings(entry.args)}))\n"


def _entry(tree: ast.Module) -> ast.FunctionDef | None:
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == ENTRY]
    return found[-1] if found else None


def _bindings(arguments: ast.arguments) -> str:
    """The call's arguments: every parameter without a default, bound by its name."""
    positional = [*arguments.posonlyargs, *arguments.args]
    required = positional[: len(positional) - len(arguments.defaults)]
    calls = [f"_bind({argument.arg!r}, {i})" for i, argument in enumerate(required)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    calls += [f"{a.arg}=_bind({a.arg!r}, 0)" for a, default in pairs if default is None]
    return ", ".join(calls)


class _Rewrite(ast.NodeTransformer):
    """See the module's docstring. ``_seek``, ``_next`` and ``_sort`` are the prelude's."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None  # List[ImagePatch] would be looked up
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Pass()
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_Delete(self, node: ast.Delete) -> list[ast.stmt]:
        return [self.visit(_deletion(target)) for target in node.targets]

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``str.lower`` as a value becomes ``lambda v, *rest: v.lower(*rest)``."""
        match node:
            case ast.Attribute(value=ast.Name(id=base), attr=name, ctx=ast.Load()) if (
                base in _TYPES and name not in _CLASS_METHODS
            ):
                return parse_python(f"lambda v, *rest: v.{name}(*rest)", "eval").body
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        lazy = _lazy(node)
        if lazy is not None:
            return self.generic_visit(lazy)
        match node:
            case ast.Call(func=ast.Attribute(value=target, attr="sort"), args=[]) if node.keywords:
                node = ast.Call(_name("_sort"), [target], node.keywords)
        return self.generic_visit(node)


def _deletion(target: ast.expr) -> ast.stmt:
    if isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
        pop = ast.Attribute(target.value, "pop", ast.Load())
        return ast.Expr(ast.Call(pop, [target.slice], []))
    if isinstance(target, ast.Name):
        return ast.Assign([ast.Name(target.id, ast.Store())], ast.Constant(None))
    raise ProgramError("program_error", f"line {target.lineno}: this form of del cannot run")


def _lazy(node: ast.Call) -> ast.Call | ast.Compare | None:
    """any(), all() and next() over a generator expression, so that they stop early."""
    match node:
        case ast.Call(
            func=ast.Name(id="any" | "all" | "next" as function),
            args=[ast.GeneratorExp() as generator, *rest],
            keywords=[],
        ) if _simple(generator):
            pass
        case _:
            return None
    found = ast.Tuple([ast.Constant(True)], ast.Load())
    nothing = ast.Constant(None)
    if function == "next":
        leaf = ast.Tuple([generator.elt], ast.Load())
        return ast.Call(_name("_next"), [_seek(generator, leaf), *rest], [])
    if function == "any":
        leaf, operator = ast.IfExp(generator.elt, found, nothing), ast.IsNot()
    else:
        leaf, operator = ast.IfExp(generator.elt, nothing, found), ast.Is()
    return ast.Compare(_seek(generator, leaf), [operator], [nothing])


def _simple(generator: ast.GeneratorExp) -> bool:
    """Targets must fit a lambda's parameters, and nothing may be assigned inside."""

    def fits(target: ast.expr) -> bool:
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        return all(isinstance(name, ast.Name) for name in names)

    inside = any(isinstance(n, (ast.NamedExpr, ast.Await)) for n in ast.walk(generator))
    return not inside and all(fits(c.target) and not c.is_async for c in generator.generators)


def _seek(generator: ast.GeneratorExp, leaf: ast.expr) -> ast.Call:
    """Nested ``_seek(lambda x: leaf if condition else None, iterable)``, one a ``for``."""
    for clause in reversed(generator.generators):
        for condition in reversed(clause.ifs):
            leaf = ast.IfExp(condition, leaf, ast.Constant(None))
        several = isinstance(clause.target, ast.Tuple)
        names = clause.target.elts if several else [clause.target]
        parameters = ast.arguments([], [ast.arg(n.id) for n in names], None, [], [], None, [])
        function = ast.Lambda(parameters, leaf)
        leaf = ast.Call(_name("_seek"), [function, clause.iter, ast.Constant(several)], [])
    return leaf


def _name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())
