/** A parameter in a path. */
export interface PathParameter {
  /** As the route calls it; `*` for the rest of a path. */
  readonly name: string;
  /** What the router matches it against. Absent: any segment. */
  readonly pattern?: string;
}

/** A route's path as OpenAPI writes it. */
export interface PathTemplate {
  /** `/notes/{id}` */
  readonly template: string;
  /** Equal for paths that match the same and differ in the names of parameters alone, which OpenAPI takes for one. */
  readonly key: string;
  /** In the order of the path. */
  readonly parameters: readonly PathParameter[];
}

/** The rest of a path, `*` in a route, has a name in a template. */
export const restName = "rest";

/**
 * Reads the path of a route, in the router's notation. One whose last parameter may be absent is two.
 * @see https://github.com/delvedor/find-my-way#supported-path-formats
 */
export function pathTemplates(url: string): readonly PathTemplate[] {
  const optional = /^(.*)(\/:[^/()?]*)\?(\/?)$/s.exec(url);
  if (!optional) return [read(url)];
  const [, before = "", parameter = "", slash = ""] = optional;
  return [read(`${before}${slash}` || "/"), read(`${before}${parameter}${slash}`)];
}

function read(url: string): PathTemplate {
  const parameters: PathParameter[] = [];
  let template = "";
  let key = "";
  let at = 0;
  const add = (parameter: PathParameter): void => {
    parameters.push(parameter);
    template += `{${parameter.name === "*" ? restName : parameter.name}}`;
    key += parameter.name === "*" ? "{*}" : "{}";
  };
  while (at < url.length) {
    const char = url.charAt(at);
    if (char === ":" && url[at + 1] !== ":") {
      const name = /^[^/(.-]*/.exec(url.slice(at + 1))?.[0] ?? "";
      at += 1 + name.length;
      if (url[at] === "(") {
        const end = endOfPattern(url, at);
        add({ name, pattern: url.slice(at + 1, end) });
        at = end + 1;
      } else add({ name });
    } else if (char === "*") {
      add({ name: "*" });
      at++;
    } else {
      if (char === ":") at++; // a colon that is none of a parameter is written twice
      const written = char === "{" || char === "}" ? encodeURIComponent(char) : char;
      template += written;
      key += written;
      at++;
    }
  }
  if (!template.startsWith("/")) template = `/${template}`;
  return { template, key: key.startsWith("/") ? key : `/${key}`, parameters };
}

/** Where the parenthesis that opens at `start` closes. */
function endOfPattern(url: string, start: number): number {
  let depth = 0;
  for (let at = start; at < url.length; at++) {
    const char = url[at];
    if (char === "\\") at++;
    else if (char === "(") depth++;
    else if (char === ")" && --depth === 0) return at;
  }
  return url.length;
}
