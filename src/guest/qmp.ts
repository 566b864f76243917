// QMP, QEMU's control protocol, over QEMU's own standard input and output: no socket to make, name or leave behind.
// Source: docs/interop/qmp-spec.rst.
import { EventEmitter } from 'node:events';
import readline from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { BrokenError } from '../errors.js';

interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  command: string;
}

export interface QmpEvent {
  event: string;
  data?: Record<string, unknown>;
}

/** One QMP connection. Emits 'event' with QmpEvent. Calls reject with BrokenError when QEMU refuses or goes away. */
export class Qmp extends EventEmitter<{ event: [QmpEvent] }> {
  readonly #input: Writable;
  readonly #pending: Pending[] = [];
  readonly greeting: Promise<void>;
  #greeted: () => void = () => {};
  #refused: (error: Error) => void = () => {};
  #closed = false;

  constructor(output: Readable, input: Writable) {
    super();
    this.#input = input;
    this.greeting = new Promise((resolve, reject) => {
      this.#greeted = resolve;
      this.#refused = reject;
    });
    this.greeting.catch(() => {});
    // Writing to a QEMU that has just died is told by its exit, which the session reports.
    input.on('error', () => this.#close());
    const lines = readline.createInterface({ input: output, crlfDelay: Infinity });
    lines.on('line', (line) => this.#take(line));
    lines.on('close', () => this.#close());
  }

  /** Sends one command and gives its return value. */
  call<T = unknown>(command: string, args?: Record<string, unknown>): Promise<T> {
    if (this.#closed) return Promise.reject(new BrokenError(`QMP ${command}: QEMU is gone`));
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ resolve: resolve as (value: unknown) => void, reject, command });
      this.#input.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) })}\n`);
    });
  }

  #take(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line) as Record<string, unknown>;
    } catch {
      return; // QEMU's own text on the same stream (a debug build's notes); replies are always JSON
    }
    if ('QMP' in message) this.#greeted();
    else if ('event' in message) this.emit('event', message as unknown as QmpEvent);
    else {
      const pending = this.#pending.shift();
      if ('return' in message) pending?.resolve(message.return);
      else pending?.reject(new BrokenError(`QMP ${pending.command}: ${(message.error as { desc?: string } | undefined)?.desc ?? line}`));
    }
  }

  #close(): void {
    this.#closed = true;
    const gone = new BrokenError('QEMU is gone');
    this.#refused(gone);
    for (const { reject, command } of this.#pending.splice(0)) reject(new BrokenError(`QMP ${command}: QEMU is gone`));
  }
}
