/** The two bars of a cluster: memory in use, and tasks by state (a row or two of the card's list). */
import type { JSX } from 'react';
import { formatBytes, formatCount } from '../format';
import type { ICluster, ITaskCounts, Translations } from '../tokens';

export function MemoryMeter(props: { cluster: ICluster; trans: Translations }): JSX.Element {
  const { memoryBytes: used, memoryLimitBytes: limit } = props.cluster;
  const share = limit > 0 ? Math.min(1, used / limit) : 0;
  const text = limit > 0 ? `${formatBytes(used)} / ${formatBytes(limit)}` : '–';
  const level = share > 0.9 ? 'error' : share > 0.7 ? 'warn' : 'normal';
  return (
    <div className="cellspan-Meter">
      <div
        className="cellspan-Meter-bar"
        role="meter"
        aria-label={props.trans.__('Memory in use')}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(100 * share)}
        aria-valuetext={text}
      >
        <span data-level={level} style={{ width: `${100 * share}%` }} />
      </div>
      <span className="cellspan-Meter-text">{text}</span>
    </div>
  );
}

const STATES: readonly (keyof ITaskCounts)[] = ['done', 'running', 'waiting', 'failed'];

export function TaskMeter(props: { tasks: ITaskCounts; trans: Translations }): JSX.Element {
  const { tasks, trans } = props;
  const words: Record<keyof ITaskCounts, string> = {
    done: trans.__('done'),
    running: trans.__('running'),
    waiting: trans.__('waiting'),
    failed: trans.__('failed')
  };
  const total = STATES.reduce((sum, state) => sum + tasks[state], 0);
  if (total === 0) {
    return <dd className="cellspan-Muted">{trans.__('none yet')}</dd>;
  }
  return (
    <>
      <dd>
        <div className="cellspan-Tasks-bar" aria-hidden="true">
          {STATES.filter(state => tasks[state] > 0).map(state => (
            <span key={state} data-tasks={state} style={{ flexGrow: tasks[state] / total }} />
          ))}
        </div>
      </dd>
      <dd className="cellspan-Tasks-legend">
        {STATES.map(state => (
          <span key={state} data-tasks={state} data-none={tasks[state] === 0}>
            <i aria-hidden="true" />
            <b>{formatCount(tasks[state])}</b> {words[state]}
          </span>
        ))}
      </dd>
    </>
  );
}
