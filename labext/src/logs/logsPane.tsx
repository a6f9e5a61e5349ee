/** The newest log lines of a cluster: of all its processes or of one, dead workers included. */
import type { JSX } from 'react';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Poll } from '@lumino/polling';
import { messageOf } from '../clusterApi';
import type { ICellspanModel, ILogEntry, Translations } from '../tokens';

const LINES = 500;
const INTERVAL_MS = 2_000;

export class LogsPane extends ReactWidget {
  constructor(
    private readonly model: ICellspanModel,
    readonly cluster: string,
    private readonly trans: Translations
  ) {
    super();
    this.addClass('cellspan-Logs');
    this.poll = new Poll({
      factory: () => this.load(),
      frequency: { interval: INTERVAL_MS, backoff: true, max: 10 * INTERVAL_MS },
      name: '@cellspan/labextension:logs',
      standby: () => !this.isVisible || document.hidden
    });
  }

  override dispose(): void {
    this.poll.dispose();
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { trans } = this;
    const shown = this.entries.filter(
      entry => this.source === null || entry.source === this.source
    );
    const sources = [...new Set(this.entries.map(entry => entry.source))].sort();
    return (
      <>
        <div className="cellspan-Logs-head">
          <label>
            {trans.__('From')}{' '}
            <select
              value={this.source ?? ''}
              onChange={event => {
                this.source = event.target.value || null;
                this.update();
              }}
            >
              <option value="">{trans.__('all processes')}</option>
              {sources.map(source => (
                <option key={source} value={source}>
                  {source}
                </option>
              ))}
            </select>
          </label>
          {this.problem && (
            <span className="cellspan-Wrong" role="status">
              {this.problem}
            </span>
          )}
        </div>
        <div className="cellspan-Logs-lines" role="log" tabIndex={0}>
          {shown.length === 0 && (
            <p className="cellspan-Muted">
              {this.isLoaded ? trans.__('No lines yet.') : trans.__('Loading…')}
            </p>
          )}
          {shown.map((entry, index) => (
            <div key={index} className="cellspan-Logs-line" data-stream={entry.stream}>
              <time>{clock(entry.time)}</time>
              <span className="cellspan-Logs-source" title={entry.source}>
                {entry.source}
              </span>
              <span className="cellspan-Logs-text">{entry.text}</span>
            </div>
          ))}
        </div>
      </>
    );
  }

  private async load(): Promise<void> {
    try {
      this.entries = await this.model.logs(this.cluster, null, LINES);
      this.problem = '';
      this.isLoaded = true;
    } catch (reason) {
      this.problem = messageOf(reason); // the lines that were read stay
    }
    const box = this.node.querySelector('.cellspan-Logs-lines');
    const isAtEnd = !box || box.scrollTop + box.clientHeight > box.scrollHeight - 30;
    this.update();
    await this.renderPromise;
    if (isAtEnd) {
      this.node.querySelector('.cellspan-Logs-lines')?.scrollTo({ top: 1e9 });
    }
  }

  private entries: readonly ILogEntry[] = [];
  private source: string | null = null;
  private problem = '';
  private isLoaded = false;
  private readonly poll: Poll;
}

function clock(time: number): string {
  return new Date(1000 * time).toLocaleTimeString(undefined, { hour12: false });
}
