// The errors that daxrig itself raises. A message says what, where and what to do, in one line; the exit code is
// part of the error, so that no command decides it twice (README, "Exit codes": 2 bad input, 3 harness or surroundings).

/** Base of every error with a message meant for the user as it stands. */
export class DaxrigError extends Error {
  override name = 'DaxrigError';
  constructor(
    message: string,
    /** Process exit code that this error stands for. */
    readonly exitCode: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Wrong usage or bad input: exit 2, nothing was started. */
export class UsageError extends DaxrigError {
  override name = 'UsageError';
  constructor(message: string, options?: ErrorOptions) {
    super(message, 2, options);
  }
}

/** The harness or its surroundings failed, not the kernel under test: exit 3. */
export class BrokenError extends DaxrigError {
  override name = 'BrokenError';
  constructor(message: string, options?: ErrorOptions) {
    super(message, 3, options);
  }
}

/** A system call made by the native addon failed: `code` is the errno name, `syscall` the call. */
export class SystemError extends Error {
  override name = 'SystemError';
  constructor(
    readonly code: string,
    readonly errno: number,
    readonly syscall: string,
    detail = '',
  ) {
    super(`${syscall}: ${code}${detail === '' ? '' : ` (${detail})`}`);
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name of a Node or native error, or undefined. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
