/** What every server under test answers to a call of the greeter. */
export function greetingOf(name: string): string {
  return `Hello, ${name}! What may we do for you today?`;
}
