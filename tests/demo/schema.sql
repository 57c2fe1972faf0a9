-- SPDX-License-Identifier: ISC
-- schema.sql - a small clinic: three doctors, their patients, today's appointments.
-- Run by psql as superuser with -v password=...; the server borrows sessions of clinic_app.

create role clinic_app login password :'password';

create table doctor (
    id     int primary key,
    name   text not null,
    booked timestamp not null           -- the latest booking; the next one goes behind it
);

create table patient (
    id   int generated always as identity primary key,
    name text not null unique
);

create table appointment (
    id        int generated always as identity primary key,
    doctor    int not null references doctor,
    patient   int not null references patient,
    starts_at timestamp not null,
    reason    text not null default 'check-up',
    unique (doctor, starts_at)
);
create index on appointment (starts_at);

-- Written in the transaction that books: one without the other would be a torn booking.
create table journal (
    appointment int not null references appointment,
    written_at  timestamptz not null default now(),
    backend     int not null default pg_backend_pid()
);

insert into doctor
select n, (array['Dr Mira Halvorsen', 'Dr Tomas Okafor', 'Dr Lena Brandt'])[n], current_date + time '17:45'
from generate_series(1, 3) n;

insert into patient (name)
select f || ' ' || l
from unnest(array['Ada', 'Bruno', 'Clara', 'Dmitri', 'Elif', 'Farah', 'Goran', 'Hana', 'Ivo', 'Jana']) f,
     unnest(array['Adler', 'Brook', 'Castro', 'Dahl', 'Ek', 'Fonseca', 'Grau', 'Holm', 'Ito', 'Jensen']) l;

insert into appointment (doctor, patient, starts_at, reason)
select d, 1 + (d * 37 + n * 11) % 100, current_date + time '08:00' + n * interval '15 minutes',
       (array['check-up', 'vaccination', 'blood test', 'follow-up'])[1 + (n + d) % 4]
from generate_series(1, 3) d, generate_series(0, 35) n
order by n, d;

create view agenda as
select a.id, a.starts_at, p.name as patient, d.name as doctor, a.reason
from appointment a join patient p on p.id = a.patient join doctor d on d.id = a.doctor;

grant select on all tables in schema public to clinic_app;
grant insert on appointment, patient, journal to clinic_app;
grant update (booked) on doctor to clinic_app;

analyze;
